//! Way (b): the official release archive, checked against the digest in slipway's source; where there is none, taken
//! only with the operator's consent, and checked against the digest that the releases API states.

use reqwest::Url;
use serde::Deserialize;

use super::progress::{Progress, Report};
use super::workspace::Workspace;
use super::{BUILDKIT_VERSION, InstallError, Options, archive, download};
use crate::domain::reason::Reason;
use crate::store::home::Home;

/// The part of GitHub's answer that matters.
#[derive(Debug, Deserialize)]
struct Release {
    assets: Vec<Asset>,
}

#[derive(Debug, Deserialize)]
struct Asset {
    name: String,
    browser_download_url: String,
    /// `sha256:…`; absent in answers of old mirrors. It comes from where the archive's address comes from, so it shows
    /// damage, never that nobody changed both.
    #[serde(default)]
    digest: Option<String>,
}

/// What to fetch, and what it must be.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    url: Url,
    sha256: String,
    /// The digest is of slipway's source.
    pinned: bool,
}

/// The official archive's name for this machine.
pub(super) fn archive_name() -> String {
    format!("buildkit-{BUILDKIT_VERSION}.linux-{}.tar.gz", architecture(std::env::consts::ARCH))
}

/// What the project calls an architecture.
fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm-v7",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

/// Fetches, checks, unpacks and puts in place; `only_runtime` leaves a buildctl and buildkitd of the user's alone.
pub(super) async fn install(
    options: &Options,
    only_runtime: bool,
    work: &Workspace,
    home: &Home,
    progress: Report<'_>,
) -> Result<(), InstallError> {
    let api = format!("{}/tags/{BUILDKIT_VERSION}", options.releases_url.trim_end_matches('/'));
    let host = download::check_url(&api)?.host_str().unwrap_or_default().to_owned();
    let name = archive_name();
    let pinned = options.digests.of(&name);
    if pinned.is_none() {
        options.consent(&name, &host).await?;
    }
    let client = download::client()?;
    progress(Progress::LookingUp { url: api.clone() });
    let response = download::get(&client, &api).await?;
    // Relative addresses are meant from where the answer came.
    let from = response.url().clone();
    let answer = download::text(response).await?;
    let wanted = choose(&answer, &from, &name, pinned)?;
    download::check_url(wanted.url.as_str())?;

    let file = work.dir("download")?.join(&name);
    let actual = download::fetch(&client, wanted.url.as_str(), &name, &file, progress).await?;
    if actual != wanted.sha256 {
        return Err(InstallError::WrongDigest { url: wanted.url.into(), expected: wanted.sha256, actual });
    }
    progress(Progress::Downloaded { file: name, sha256: actual, checked: wanted.pinned });
    archive::install_file(&file, only_runtime, work, home, progress).await
}

/// The archive `name` in an answer of the releases API.
fn choose(answer: &str, from: &Url, name: &str, pinned: Option<String>) -> Result<Wanted, InstallError> {
    let bad = |why: Reason| InstallError::BadAnswer { url: from.to_string(), why };
    let release: Release = serde_json::from_str(answer).map_err(|e| bad(Reason::verbatim(e.to_string())))?;
    let asset = release
        .assets
        .into_iter()
        .find(|asset| asset.name == name)
        .ok_or_else(|| InstallError::NoAsset { asset: name.to_owned() })?;
    let stated = asset.digest.unwrap_or_default().to_ascii_lowercase();
    let stated = stated.strip_prefix("sha256:").filter(|hex| hex.len() == 64).map(str::to_owned);
    let is_pinned = pinned.is_some();
    let sha256 = pinned
        .or(stated)
        .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| InstallError::NoDigest { url: from.to_string(), asset: name.to_owned() })?;
    let url = from
        .join(&asset.browser_download_url)
        .map_err(|e| bad(Reason::verbatim(format!("browser_download_url {:?}: {e}", asset.browser_download_url))))?;
    Ok(Wanted { url, sha256, pinned: is_pinned })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "buildkit-v0.34.2.linux-amd64.tar.gz";

    fn choose_from(asset: &str) -> Result<Wanted, InstallError> {
        let from = Url::parse("https://mirror.example/buildkit/tags/v0.34.2").unwrap();
        choose(
            &format!(r#"{{"assets": [{{"name": "other", "browser_download_url": "x"}}, {asset}]}}"#),
            &from,
            NAME,
            None,
        )
    }

    #[test]
    fn the_archive_is_chosen_by_its_name_and_must_have_a_digest() {
        let digest = "ab".repeat(32);
        let good = format!(
            r#"{{"name": "{NAME}", "browser_download_url": "https://h/a", "digest": "sha256:{}"}}"#,
            digest.to_uppercase()
        );
        let wanted = choose_from(&good).unwrap();
        assert_eq!((wanted.url.as_str(), &wanted.sha256), ("https://h/a", &digest));
        for stated in [r#""digest": null"#, r#""digest": "sha512:00""#, r#""digest": "sha256:00""#, r#""size": 1"#] {
            let asset = format!(r#"{{"name": "{NAME}", "browser_download_url": "https://h/a", {stated}}}"#);
            let error = choose_from(&asset).unwrap_err();
            assert!(matches!(error, InstallError::NoDigest { .. }), "{error}");
            assert!(error.to_string().contains("slipway setup --from"), "{error}");
        }
    }

    #[test]
    fn a_mirror_may_use_relative_addresses() {
        let asset = format!(
            r#"{{"name": "{NAME}", "browser_download_url": "../files/{NAME}", "digest": "sha256:{}"}}"#,
            "0".repeat(64)
        );
        assert_eq!(choose_from(&asset).unwrap().url.path(), format!("/buildkit/files/{NAME}"));
    }

    #[test]
    fn an_answer_without_the_archive_or_without_sense_says_which() {
        let error = choose_from(r#"{"name": "x", "browser_download_url": "y"}"#).unwrap_err();
        assert!(matches!(error, InstallError::NoAsset { .. }), "{error}");
        let error = choose("<html>", &Url::parse("http://h/").unwrap(), NAME, None).unwrap_err();
        assert!(matches!(error, InstallError::BadAnswer { .. }), "{error}");
    }

    #[test]
    fn architectures_have_the_projects_names() {
        let names = ["x86_64", "aarch64", "arm", "s390x", "riscv64"].map(architecture);
        assert_eq!(names, ["amd64", "arm64", "arm-v7", "s390x", "riscv64"]);
    }
}
