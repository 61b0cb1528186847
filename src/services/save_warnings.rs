//! What a client says beside a change to the settings that is saved all the same: files that it names and that are not
//! there, and what no longer works by it.

use crate::domain::grant_keys::SecretRefs;
use crate::domain::grants::Grants;
use crate::domain::namespace::Namespace;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::secret_ref::{SecretRef, is_own_file};
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::Entity;
use crate::services::sources;
use crate::source::git::ssh;
use crate::store::Home;
use crate::store::settings::Settings;

/// The warnings about what is to be saved, or was; `settings` may be those before or after.
pub fn of(home: &Home, settings: &Settings, entity: &Entity) -> Vec<Reason> {
    match entity {
        Entity::Namespace { name, value } => {
            let mut warnings = missing_files(home, &value.secrets, &value.ssh);
            warnings.extend(host_network(settings, name, value));
            warnings
        }
        Entity::Rule { value, .. } => missing_files(home, &value.secrets, &value.ssh),
        Entity::Repository { value, .. } => {
            value.rules.iter().flat_map(|rule| missing_files(home, &rule.secrets, &rule.ssh)).collect()
        }
        Entity::Platform { name, value, .. } => {
            let mut warnings = orphans(settings, name, value);
            warnings.extend(value.ssh_key.as_deref().and_then(passphrase));
            warnings
        }
        Entity::Builder { .. } | Entity::Registry { .. } | Entity::Secret { .. } => Vec::new(),
    }
}

/// The files under `secrets/` that are named and not there, each once.
fn missing_files(home: &Home, secrets: &SecretRefs, ssh: &[String]) -> Vec<Reason> {
    let files = secrets.values().filter_map(|reference| match reference {
        SecretRef::File(name) => Some((name, "")),
        SecretRef::Env(_) | SecretRef::Command(_) => None,
    });
    let keys = ssh.iter().map(|name| (name, " < KEYFILE"));
    let mut warnings: Vec<Reason> = files
        .chain(keys)
        .filter(|(name, _)| !is_own_file(name) && !home.secrets_dir().join(name).exists())
        .map(|(name, from)| reason!("save_warning.secret_missing", name, from))
        .collect();
    warnings.dedup();
    warnings
}

/// The rules of a namespace that want the host's network, where it does not allow that.
fn host_network(settings: &Settings, name: &str, namespace: &Namespace) -> Vec<Reason> {
    let repositories = settings.repositories.iter().filter(|(path, _)| path.namespace == name);
    let rules = repositories.flat_map(|(path, repository)| repository.rules.iter().map(move |rule| (path, rule)));
    rules
        .filter_map(|(path, rule)| {
            let error = Grants::network_mode(name, namespace, rule).err()?;
            Some(reason!("save_warning.builds_refused", rule = quoted(&rule.name), path, error))
        })
        .collect()
}

/// The repositories whose sources the platform's credentials no longer go to.
fn orphans(settings: &Settings, name: &str, platform: &SourcePlatform) -> Vec<Reason> {
    let mut settings = settings.clone();
    settings.platforms.insert(name.to_owned(), platform.clone());
    let bound = settings.repositories.iter().filter_map(|(path, value)| Some((path, value.source.as_ref()?)));
    bound
        .filter(|(_, source)| source.platform.as_deref() == Some(name))
        .filter_map(|(path, source)| {
            let why = sources::checked(&settings, source).err()?;
            Some(reason!("save_warning.source_not_read", path, why))
        })
        .collect()
}

/// What to do with a private key that has a passphrase.
fn passphrase(key: &str) -> Option<Reason> {
    let path = ssh::expanded(key);
    let has_one = ssh::Key::read(&path).is_ok_and(|key| key == ssh::Key::Passphrase);
    has_one.then(|| reason!("services.key_has_passphrase", key = path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant_keys::NetworkMode;
    use crate::domain::repository::{Repository, Source};
    use crate::domain::rule::Rule;
    use crate::domain::source_platform::PlatformKind;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        std::fs::create_dir(home.secrets_dir()).unwrap();
        (directory, home)
    }

    fn texts(home: &Home, settings: &Settings, entity: &Entity) -> Vec<String> {
        of(home, settings, entity).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_and_keys_that_are_not_there_are_named_and_others_are_not() {
        let (_directory, home) = home();
        std::fs::write(home.secrets_dir().join("npm"), "x").unwrap();
        let secrets: SecretRefs = [
            ("a".to_owned(), SecretRef::File("npm".into())),
            ("b".to_owned(), SecretRef::File("pypi".into())),
            ("c".to_owned(), SecretRef::Env("TOKEN".into())),
        ]
        .into();
        let rule = Rule { secrets, ssh: vec!["deploy".into()], ..Rule::starter("main") };
        let entity = Entity::Rule { path: "acme/api".parse().unwrap(), value: rule };
        let warnings = texts(&home, &Settings::default(), &entity);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].to_string().starts_with("secrets/pypi is not there yet"), "{warnings:?}");
        assert!(warnings[1].to_string().ends_with("`slipway secret set deploy < KEYFILE` stores it"), "{warnings:?}");
    }

    #[test]
    fn rules_that_lose_the_hosts_network_and_sources_that_lose_their_platform_are_named() {
        let (_directory, home) = home();
        let mut settings = Settings::default();
        let rule = Rule { network_mode: Some(NetworkMode::Host), ..Rule::starter("main") };
        let source =
            Source { url: "https://git.example.com/a.git".into(), platform: Some("box".into()), ..Source::default() };
        let repository = Repository { rules: vec![rule], source: Some(source), ..Repository::default() };
        settings.repositories.insert("acme/api".parse().unwrap(), repository);
        let namespace = |allow_host_network| Entity::Namespace {
            name: "acme".into(),
            value: Namespace { allow_host_network, ..Namespace::default() },
        };
        assert_eq!(of(&home, &settings, &namespace(true)), Vec::<Reason>::new());
        let warnings = of(&home, &settings, &namespace(false));
        assert!(
            warnings[0].to_string().starts_with("builds of rule \"main\" of acme/api are refused: network_mode"),
            "{warnings:?}"
        );
        let platform = |host: &str| Entity::Platform {
            name: "box".into(),
            value: SourcePlatform {
                hosts: vec![host.into()],
                token: Some(SecretRef::Env("TOKEN".into())),
                ..SourcePlatform::new(PlatformKind::Git)
            },
            token: None,
            webhook_secret: None,
            login: None,
        };
        assert_eq!(of(&home, &settings, &platform("git.example.com")), Vec::<Reason>::new());
        let warnings = of(&home, &settings, &platform("other.example.com"));
        assert!(
            warnings[0].to_string().starts_with("the source of acme/api is not read any more: the token"),
            "{warnings:?}"
        );
    }
}
