//! Sources of an installation, and what vouches for the archives that it downloads.

use super::error::InstallError;
use super::pins::Digests;
use crate::domain::reason::{Reason, reason};

/// Where BuildKit's releases are described; `SLIPWAY_RELEASES_URL` names a mirror instead.
pub const RELEASES_URL: &str = "https://api.github.com/repos/moby/buildkit/releases";

/// Asks the operator a question on the terminal; answers whether they agree.
pub type Ask = fn(Reason) -> bool;

/// Where an installation takes its parts from, and what vouches for them.
#[derive(Debug, Clone)]
pub struct Options {
    /// An official release archive, a file or an `https://` URL. It is installed even when nothing is missing.
    pub from: Option<String>,
    /// Digests of archives; one that is not among them needs consent.
    pub digests: Digests,
    /// Consent: archives without a digest are taken over TLS.
    pub trust_tls: bool,
    /// Who may be asked for consent; absent where there is no terminal.
    pub ask: Option<Ask>,
    /// The releases API: `<this>/tags/<version>` answers with the release in the form of GitHub's REST API. A
    /// `browser_download_url` in it may be relative, so that a mirror can be a directory of files.
    pub releases_url: String,
}

impl Options {
    /// No archive of one's own; the releases API that `SLIPWAY_RELEASES_URL` names, else the project's.
    pub fn from_env() -> Options {
        let mirror = std::env::var("SLIPWAY_RELEASES_URL").ok().filter(|url| !url.trim().is_empty());
        Options {
            from: None,
            digests: Digests::built_in(),
            trust_tls: false,
            ask: None,
            releases_url: mirror.unwrap_or_else(|| RELEASES_URL.to_owned()),
        }
    }

    /// Completes when an archive may be taken that nothing but TLS vouches for.
    pub(super) async fn consent(&self, archive: &str, host: &str) -> Result<(), InstallError> {
        if self.trust_tls {
            return Ok(());
        }
        let refused = || InstallError::NotVouchedFor { archive: archive.to_owned(), host: host.to_owned() };
        let ask = self.ask.ok_or_else(refused)?;
        let question = reason!("install.take_unchecked_archive", archive, host);
        // A thread of its own: nothing waits for it when setup is interrupted meanwhile.
        let (answer, answered) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || answer.send(ask(question)));
        if answered.await.unwrap_or(false) { Ok(()) } else { Err(refused()) }
    }
}
