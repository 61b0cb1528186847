//! Where a platform's API is, and where on the platform a source lies. Pure.

use reqwest::Url;

use super::error::ApiProblem;
use crate::domain::reason::{output, reason};
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::source::{SourceUrl, Transport};

/// Where an API is, and how repositories lie on its platform.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The API of the server that the platform's makers run.
    pub makers: &'static str,
    /// Hosts that people may name for that server.
    pub hosts: &'static [&'static str],
    /// The end of the names of clouds whose API has a host of its own, `api.` before the cloud's.
    pub clouds: Option<&'static str>,
    /// The path of the API on other servers.
    pub path: &'static str,
    /// The form of a repository's path.
    pub form: &'static str,
    /// Whether a repository may lie deeper than below one owner.
    pub deep: bool,
}

/// Where the API of a platform is: of the platform's own url, or of where the kind's makers run it.
///
/// # Errors
/// When its url is none.
pub(super) fn api(platform: &SourcePlatform, place: &Place) -> Result<Url, ApiProblem> {
    let Some(url) = &platform.url else { return parse(place.makers) };
    let mut url = parse(url)?;
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    if place.hosts.contains(&host.as_str()) {
        return parse(place.makers);
    }
    if place.clouds.is_some_and(|end| host.ends_with(end)) && !host.starts_with("api.") {
        return parse(&format!("https://api.{host}"));
    }
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(place.path.split('/'));
    }
    Ok(url)
}

/// Where the platform itself is, for people and their browsers: the base of its OAuth addresses.
///
/// # Errors
/// When its url is none.
pub(super) fn web(platform: &SourcePlatform) -> Result<Url, ApiProblem> {
    let makers = match platform.kind {
        PlatformKind::Gitlab => "https://gitlab.com",
        _ => "https://github.com",
    };
    let url = platform.url.as_deref().unwrap_or(makers);
    parse(url)
}

fn parse(url: &str) -> Result<Url, ApiProblem> {
    Url::parse(url).map_err(|error| ApiProblem::Setting(reason!("api.url", error = output(error))))
}

/// What stands before the repositories' own paths: GitLab and Gitea may live below a path of a web server.
pub(super) fn prefix(platform: &SourcePlatform) -> Vec<String> {
    let url = platform.url.as_deref().and_then(|url| Url::parse(url).ok());
    url.map_or_else(Vec::new, |url| parts(url.path()))
}

/// The path of a source's repository on its platform, part by part: `acme`, `api`.
///
/// # Errors
/// When the source's URL has no such path.
pub(super) fn repository(
    kind: PlatformKind,
    place: &Place,
    prefix: &[String],
    source: &SourceUrl,
) -> Result<Vec<String>, ApiProblem> {
    let form = place.form;
    let none = || ApiProblem::NoRepository { url: source.to_string(), platform: kind.title(), form };
    let mut path = parts(&source.remote_path().ok_or_else(none)?);
    if matches!(source.transport(), Transport::Http | Transport::Https) && path.starts_with(prefix) {
        path.drain(..prefix.len());
    }
    if let Some(name) = path.last_mut() {
        *name = name.strip_suffix(".git").unwrap_or(name).to_owned();
    }
    let fits = if place.deep { path.len() >= 2 } else { path.len() == 2 };
    // A part that is `..` would lead to another place of the API.
    let named = path.iter().all(|part| part != "." && part != ".." && !part.is_empty());
    if fits && named { Ok(path) } else { Err(none()) }
}

fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::platform::platform as platform_of;

    fn place(kind: PlatformKind) -> Place {
        platform_of(kind).unwrap().place()
    }

    fn platform(kind: PlatformKind, url: Option<&str>) -> SourcePlatform {
        SourcePlatform { url: url.map(str::to_owned), ..SourcePlatform::new(kind) }
    }

    #[test]
    fn an_api_is_found_from_where_its_platform_is() {
        use PlatformKind as K;
        for (kind, url, expected) in [
            (K::Github, None, "https://api.github.com/"),
            (K::Github, Some("https://github.com/"), "https://api.github.com/"),
            (K::Github, Some("https://git.acme.example"), "https://git.acme.example/api/v3"),
            (K::Github, Some("https://acme.ghe.com"), "https://api.acme.ghe.com/"),
            (K::Gitlab, None, "https://gitlab.com/api/v4"),
            (K::Gitlab, Some("https://acme.example/gitlab/"), "https://acme.example/gitlab/api/v4"),
            (K::Gitea, Some("http://localhost:3000"), "http://localhost:3000/api/v1"),
            (K::Bitbucket, Some("https://bitbucket.org"), "https://api.bitbucket.org/2.0"),
            (K::Gitee, None, "https://gitee.com/api/v5"),
            (K::Codeup, Some("https://codeup.aliyun.com"), "https://openapi-rdc.aliyuncs.com/oapi/v1"),
            (K::Codeup, Some("https://acme.rdc.aliyuncs.com"), "https://acme.rdc.aliyuncs.com/oapi/v1"),
        ] {
            assert_eq!(api(&platform(kind, url), &place(kind)).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_repository_is_found_by_every_form_of_its_url() {
        use PlatformKind as K;
        for (kind, url, expected) in [
            (K::Github, "https://github.com/acme/api.git", "acme/api"),
            (K::Github, "git@github.com:acme/api.git", "acme/api"),
            (K::Github, "ssh://git@ssh.github.com:443/acme/api", "acme/api"),
            (K::Gitlab, "https://acme.example/gitlab/group/sub/api.git", "group/sub/api"),
            (K::Gitlab, "git@acme.example:group/sub/api.git", "group/sub/api"),
            (K::Codeup, "https://codeup.aliyun.com/60de7a/api.git", "60de7a/api"),
            (K::Bitbucket, "git@bitbucket.org:acme/.git.git", "acme/.git"),
        ] {
            let found = repository(kind, &place(kind), &["gitlab".into()], &SourceUrl::parse(url).unwrap()).unwrap();
            assert_eq!(found.join("/"), expected, "{url}");
        }
        for url in ["/srv/git/acme/api.git", "https://github.com/api", "https://github.com/a/b/c", "git@h:a/../b"] {
            let error = repository(K::Github, &place(K::Github), &[], &SourceUrl::parse(url).unwrap()).unwrap_err();
            assert!(error.to_string().ends_with("it should end in OWNER/REPOSITORY"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_source_leads_out_of_the_apis_repositories(text in "(https://h/|git@h:|ssh://h/)[a-z./%]{1,20}") {
            if let Ok(source) = SourceUrl::parse(&text)
                && let Ok(path) = repository(PlatformKind::Github, &place(PlatformKind::Github), &[], &source)
            {
                prop_assert!(path.len() == 2 && path.iter().all(|part| part != ".." && !part.contains('/')));
            }
        }
    }
}
