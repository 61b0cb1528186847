//! With whose credentials a submodule is fetched. Pure.
//!
//! A commit names its submodules, so anybody who can push to one source chooses the addresses. The source's own credentials
//! open repositories of the source's own owner on its own server; anything else is opened only where the repository's
//! settings list it (`[source] submodules`), and is otherwise asked for what anybody may read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::domain::submodule_pattern;
use crate::source::{SourceUrl, Transport};

/// How a submodule on another machine is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// With the credentials of that platform; none: with the user's own ssh keys, agent and credential helpers.
    With(Option<String>),
    /// With no credential, by the CA and the proxy of that platform.
    Anonymous(Option<String>),
}

/// How the submodule `url` of the source at `source_url` is fetched; none where it can't be without a credential, and
/// may have none.
pub(super) fn way(
    source: &Source,
    source_url: &SourceUrl,
    platforms: &BTreeMap<String, SourcePlatform>,
    url: &SourceUrl,
) -> Option<Way> {
    let own = source.platform.as_ref().and_then(|name| platforms.get_key_value(name));
    if is_of_same_owner(source_url, url, own.map(|(_, platform)| platform)) {
        if own.is_some_and(|(_, platform)| covers(platform, url) && opens(platform, url)) {
            return Some(Way::With(source.platform.clone()));
        }
        // What opens the source opens it, too.
        if server(source_url) == server(url) && source_url.user() == url.user() {
            return Some(Way::With(source.platform.clone().filter(|_| own.is_none_or(|(_, own)| covers(own, url)))));
        }
    }
    let known = || own.into_iter().chain(platforms).filter(|(_, platform)| covers(platform, url));
    if is_listed(&source.submodules, url) {
        let opening = known().find(|(_, platform)| opens(platform, url)).or_else(|| known().next());
        return Some(Way::With(opening.map(|(name, _)| name.clone())));
    }
    match url.transport() {
        Transport::Ssh | Transport::Local => None,
        Transport::Https | Transport::Http | Transport::Git => {
            Some(Way::Anonymous(known().next().map(|(name, _)| name.clone())))
        }
    }
}

/// Whether a repository on another machine is listed.
pub(super) fn is_listed(listed: &[String], url: &SourceUrl) -> bool {
    let Some(address) = url.address() else { return false };
    listed.iter().any(|pattern| submodule_pattern::matches(pattern, &address))
}

/// Whether a repository of this machine's disk is listed, by its path without symbolic links.
pub(super) fn is_listed_path(listed: &[String], path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    listed.iter().any(|pattern| submodule_pattern::matches(pattern, &path.to_string_lossy()))
}

fn covers(platform: &SourcePlatform, url: &SourceUrl) -> bool {
    url.credentials_go_to().is_some_and(|server| platform.covers(server))
}

/// Whether a platform has what a transport asks for.
fn opens(platform: &SourcePlatform, url: &SourceUrl) -> bool {
    match url.transport() {
        Transport::Https | Transport::Http => platform.token.is_some(),
        Transport::Ssh => platform.ssh_key.is_some(),
        Transport::Git | Transport::Local => false,
    }
}

fn server(url: &SourceUrl) -> (Transport, Option<String>, Option<u16>) {
    (url.transport(), url.host().map(str::to_ascii_lowercase), url.port())
}

/// Whether two repositories have one owner: the first segment of their paths on a platform whose owners slipway knows,
/// elsewhere all segments but the last. Whatever user the submodule's address names for ssh must be the source's, or
/// everybody's `git`.
fn is_of_same_owner(source: &SourceUrl, url: &SourceUrl, platform: Option<&SourcePlatform>) -> bool {
    let (Some(ours), Some(theirs)) = (source.segments(), url.segments()) else { return false };
    let has_owners = platform.is_some_and(|platform| platform.kind.has_api());
    let owner = |segments: &[String]| {
        let above = &segments[..segments.len() - 1];
        let of = if has_owners { &above[..above.len().min(1)] } else { above };
        let of = of.join("/");
        if platform.is_some_and(|platform| platform.kind.ignores_case()) { of.to_lowercase() } else { of }
    };
    let is_users = url.user().is_none_or(|user| user == "git" || Some(user) == source.user());
    is_users && owner(&ours) == owner(&theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::source_platform::PlatformKind;

    fn platforms() -> BTreeMap<String, SourcePlatform> {
        let token = toml::from_str::<SourcePlatform>("kind = \"github\"\ntoken = { file = \"t\" }\n").unwrap();
        let key = SourcePlatform {
            hosts: vec!["ssh.example.com".into()],
            ssh_key: Some("~/.ssh/k".into()),
            ..SourcePlatform::new(PlatformKind::Git)
        };
        let web =
            SourcePlatform { hosts: vec!["web.example.com:8443".into()], kind: PlatformKind::Git, ..token.clone() };
        BTreeMap::from([("github".into(), token), ("key".into(), key), ("web".into(), web)])
    }

    fn of(platform: Option<&str>, source: &str, listed: &[&str], url: &str) -> Option<Way> {
        let bound = Source {
            platform: platform.map(str::to_owned),
            url: source.into(),
            submodules: listed.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..Source::default()
        };
        way(&bound, &SourceUrl::parse(source).unwrap(), &platforms(), &SourceUrl::parse(url).unwrap())
    }

    fn with(platform: &str) -> Option<Way> {
        Some(Way::With(Some(platform.into())))
    }

    fn anonymous(platform: Option<&str>) -> Option<Way> {
        Some(Way::Anonymous(platform.map(str::to_owned)))
    }

    #[test]
    fn the_credentials_of_a_source_open_repositories_of_its_own_owner_on_its_own_platform() {
        let app = "https://github.com/acme/app.git";
        for (url, expected) in [
            ("https://github.com/acme/lib", with("github")),
            ("https://github.com/Acme/lib.git", with("github")),
            ("https://github.com/other/lib", anonymous(Some("github"))),
            ("https://github.com/acme/x%2f..%2f..%2fother/lib", anonymous(Some("github"))),
            ("https://github.com/acme//other/lib", anonymous(Some("github"))),
            ("https://github.com/acme/../other/lib", anonymous(Some("github"))),
            ("https://github.com:8443/acme/lib", anonymous(None)),
            ("https://web.example.com:8443/acme/lib", anonymous(Some("web"))),
            ("https://elsewhere.com/acme/lib", anonymous(None)),
            ("git://github.com/acme/lib", anonymous(None)),
            // The platform has no key: the user's own would be offered.
            ("git@github.com:acme/lib", None),
            ("git@ssh.example.com:acme/lib", None),
        ] {
            assert_eq!(of(Some("github"), app, &[], url), expected, "{url}");
        }
    }

    #[test]
    fn a_source_without_platform_opens_nothing_but_its_own_directory_of_its_own_server() {
        let ssh = "git@host:acme/app.git";
        for (url, expected) in [
            ("git@host:acme/lib.git", Some(Way::With(None))),
            ("ssh://git@host/acme/lib.git", Some(Way::With(None))),
            ("git@host:acme/../other/lib.git", None),
            ("git@host:other/lib.git", None),
            ("root@host:acme/lib.git", None),
            ("git@other:acme/lib.git", None),
            ("git@ssh.example.com:acme/lib.git", None),
            ("https://host/acme/lib.git", anonymous(None)),
            ("https://github.com/acme/lib.git", anonymous(Some("github"))),
        ] {
            assert_eq!(of(None, ssh, &[], url), expected, "{url}");
        }
        assert_eq!(of(None, "ssh://git@host/home/kim/app", &[], "ssh://git@host/home/sam/secret"), None);
        assert_eq!(of(None, "https://host/acme/app", &[], "https://host/acme/lib"), Some(Way::With(None)));
        assert_eq!(of(None, "https://host/acme/app", &[], "http://host/acme/lib"), anonymous(None));
    }

    #[test]
    fn what_is_listed_is_opened_by_the_platform_of_its_server_or_by_the_user() {
        let listed = ["github.com/acme/*", "ssh.example.com/**", "host/other/lib"];
        for (url, expected) in [
            ("https://github.com/acme/lib", with("github")),
            ("https://github.com/other/lib", anonymous(Some("github"))),
            ("git@ssh.example.com:a/b/c", with("key")),
            ("git@ssh.example.com:a/../c", None),
            ("git@host:other/lib.git", Some(Way::With(None))),
            ("git@host:other/libs.git", None),
        ] {
            assert_eq!(of(None, "https://example.org/a/b", &listed, url), expected, "{url}");
        }
    }
}
