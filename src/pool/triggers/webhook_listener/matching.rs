//! Repositories that a webhook is about. Pure.

use crate::domain::name::RepositoryPath;
use crate::pool::core::RemoteIds;
use crate::source::SourceUrl;
use crate::source::webhook::RemoteRepository;
use crate::store::settings::Settings;

/// A repository that a webhook is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) path: RepositoryPath,
    /// The platform calls the source by another name now: only the identifier is the same.
    pub(super) renamed: bool,
}

/// The repositories that build by themselves from a remote repository, with the credentials of that platform. The
/// webhook came in at the platform's own address with its secret, and a platform has several host names: so the paths
/// decide.
pub(super) fn built_from(
    settings: &Settings,
    platform: &str,
    remote: &RemoteRepository,
    ids: &RemoteIds,
) -> Vec<Matched> {
    let urls: Vec<SourceUrl> = remote.urls.iter().filter_map(|url| SourceUrl::parse(url).ok()).collect();
    let any_case = settings.platforms.get(platform).is_some_and(|platform| platform.kind.ignores_case());
    let sources = settings.repositories.iter().filter(|(_, repository)| repository.build.auto);
    let sources = sources.filter_map(|(path, repository)| Some((path, repository.source.as_ref()?)));
    let of_platform = sources.filter(|(_, source)| source.platform.as_deref() == Some(platform));
    let one = |(path, source): (&RepositoryPath, &crate::domain::repository::Source)| {
        let url = SourceUrl::parse(&source.url).ok()?;
        let by_path = urls.iter().any(|other| url.has_path_of(other, any_case))
            || remote.paths.iter().any(|path| url.is_at(path, any_case));
        let by_id = || {
            let known = ids.get(path).filter(|(of, _)| *of == source.url).map(|(_, id)| id);
            known.is_some() && known == remote.id.as_ref()
        };
        (by_path || by_id()).then(|| Matched { path: path.clone(), renamed: !by_path })
    };
    let matched: Vec<Matched> = of_platform.filter_map(one).collect();
    // Where the path is found, an identifier that another source once had is of a repository that was deleted or moved
    // away.
    let found = matched.iter().any(|matched| !matched.renamed);
    matched.into_iter().filter(|matched| !found || !matched.renamed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repository::{Repository, Source};
    use crate::domain::source_platform::{PlatformKind, SourcePlatform};

    fn settings(kind: PlatformKind, sources: &[&str]) -> Settings {
        let mut settings = Settings::default();
        settings.platforms.insert("code".into(), SourcePlatform::new(kind));
        for (number, url) in sources.iter().enumerate() {
            let source = Some(Source { url: (*url).into(), platform: Some("code".into()), ..Source::default() });
            let path = format!("acme/app{number}").parse().unwrap();
            settings.repositories.insert(path, Repository { source, ..Repository::default() });
        }
        settings
    }

    fn found(source: &str, urls: &[&str], paths: &[&str]) -> usize {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let remote = RemoteRepository { urls: own(urls), paths: own(paths), id: None };
        built_from(&settings(PlatformKind::Gitlab, &[source]), "code", &remote, &RemoteIds::new()).len()
    }

    #[test]
    fn case_and_host_names_do_not_matter_and_paths_do() {
        for (source, url) in [
            ("https://github.com/acme/api.git", "https://github.com/Acme/API.git"),
            ("ssh://git@ssh.github.com:443/acme/api.git", "git@github.com:acme/api.git"),
            ("https://www.github.com/acme/api", "https://github.com/acme/api.git"),
            ("ssh://git@altssh.gitlab.com:443/acme/api.git", "https://gitlab.com/acme/api.git"),
            ("ssh://git@altssh.bitbucket.org:443/acme/api.git", "https://bitbucket.org/acme/api"),
            ("git@gitlab.internal:acme/group/api.git", "https://gitlab.example.com/acme/group/api.git"),
            ("https://host/acme/sp%20ace.git", "ssh://git@host/acme/sp%20ace"),
            ("file:///srv/api.git", "/srv/api"),
        ] {
            assert_eq!(found(source, &[url], &[]), 1, "{source} {url}");
        }
        for (source, url) in [
            ("https://github.com/acme/api.git", "https://github.com/acme/apis.git"),
            ("https://github.com/acme/api.git", "https://github.com/other/acme/api.git"),
            ("/srv/api", "https://github.com/srv/api"),
            ("/srv/api", "/srv/API"),
        ] {
            assert_eq!(found(source, &[url], &[]), 0, "{source} {url}");
        }
        assert_eq!(found("https://bitbucket.org/acme/api.git", &[], &["Acme/api"]), 1);
        assert_eq!(found("https://code.example.com/scm/key/api.git", &[], &["KEY/api", "scm/KEY/api"]), 1);
        assert_eq!(found("/srv/acme/api", &[], &["srv/acme/api"]), 0, "a path on the platform is none of this machine");
    }

    #[test]
    fn a_renamed_repository_is_known_by_its_identifier_unless_its_old_name_is_another_one_now() {
        let old = "https://host/acme/api.git";
        let settings = settings(PlatformKind::Gitea, &[old]);
        let path: RepositoryPath = "acme/app0".parse().unwrap();
        let ids = RemoteIds::from([(path.clone(), (old.to_owned(), "7".to_owned()))]);
        let remote = |name: &str, id: &str| RemoteRepository {
            urls: vec![format!("https://host/acme/{name}.git")],
            paths: Vec::new(),
            id: Some(id.into()),
        };
        let matched = |name, id| built_from(&settings, "code", &remote(name, id), &ids);
        assert_eq!(matched("api2", "7"), [Matched { path: path.clone(), renamed: true }]);
        assert_eq!(matched("api", "8"), [Matched { path, renamed: false }]);
        assert_eq!(matched("api2", "8"), []);
    }
}
