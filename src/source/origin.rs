//! Where a repository on this machine was cloned from.

use std::path::Path;

use super::url::SourceUrl;

/// The URL of the remote `origin`, where it is on another machine. Never one with credentials: [`SourceUrl`] holds
/// none.
pub(super) fn origin(repository: &Path) -> Option<SourceUrl> {
    let repository = git2::Repository::open(repository).ok()?;
    let remote = repository.find_remote("origin").ok()?;
    SourceUrl::parse(remote.url().ok()?).ok().filter(|url| url.local_path().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_remote_elsewhere_without_credentials_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init(dir.path()).unwrap();
        assert_eq!(origin(dir.path()), None);
        for (url, told) in [
            ("https://git.example.com/acme/api.git", Some("https://git.example.com/acme/api.git")),
            ("git@git.example.com:acme/api.git", Some("git@git.example.com:acme/api.git")),
            ("https://kim:secret@git.example.com/acme/api.git", None),
            ("/srv/git/api.git", None),
            ("../api.git", None),
            ("file:///srv/git/api.git", None),
        ] {
            repository.remote_set_url("origin", url).unwrap();
            assert_eq!(origin(dir.path()).map(|url| url.as_str().to_owned()).as_deref(), told, "{url}");
        }
    }
}
