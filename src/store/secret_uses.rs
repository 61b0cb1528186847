//! What the settings use the files under `secrets/` for.

use super::settings::Settings;
use crate::domain::config::NotifyUrl;
use crate::domain::grant_keys::SecretRefs;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::secret_ref::SecretRef;

/// Everything that names the file `secrets/<name>`, as people call it.
pub fn uses_of(settings: &Settings, name: &str) -> Vec<Reason> {
    let is_it = |reference: &SecretRef| matches!(reference, SecretRef::File(file) if file == name);
    let grants =
        |secrets: &SecretRefs, ssh: &[String]| secrets.values().any(is_it) || ssh.iter().any(|key| key == name);
    let mut uses = Vec::new();
    for (namespace, value) in &settings.namespaces {
        uses.extend(grants(&value.secrets, &value.ssh).then(|| reason!("entity.namespace", name = quoted(namespace))));
    }
    for (path, repository) in &settings.repositories {
        let rules = repository.rules.iter().filter(|rule| grants(&rule.secrets, &rule.ssh));
        uses.extend(rules.map(|rule| reason!("entity.rule", path, name = quoted(&rule.name))));
    }
    for (platform, value) in &settings.platforms {
        let named = value.token.iter().chain(&value.webhook_secret).any(is_it);
        uses.extend(named.then(|| reason!("entity.platform", name = quoted(platform))));
    }
    for (host, value) in &settings.registries {
        uses.extend(
            value.password.as_ref().is_some_and(is_it).then(|| reason!("entity.registry", host = quoted(host))),
        );
    }
    for notify in &settings.config.notify {
        let address = match &notify.url {
            Some(NotifyUrl::Secret(reference)) => Some(reference),
            Some(NotifyUrl::Plain(_)) | None => None,
        };
        uses.extend(
            notify
                .secret
                .iter()
                .chain(address)
                .any(is_it)
                .then(|| reason!("entity.notification", name = quoted(&notify.name))),
        );
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::RegistrySettings;
    use crate::domain::namespace::Namespace;
    use crate::domain::repository::Repository;
    use crate::domain::rule::Rule;

    #[test]
    fn everything_that_names_a_secret_is_told() {
        let file = |name: &str| SecretRef::File(name.into());
        let npm: SecretRefs = [("npm".to_owned(), file("npm"))].into();
        let rule = Rule { secrets: npm.clone(), ..Rule::starter("main") };
        let agent = Rule { name: "agent".into(), ssh: vec!["npm".into()], ..Rule::starter("main") };
        let mut settings = Settings::default();
        settings.namespaces.insert("acme".into(), Namespace { secrets: npm, ..Namespace::default() });
        let repository = Repository { rules: vec![rule, agent, Rule::starter("dev")], ..Repository::default() };
        settings.repositories.insert("acme/api".parse().unwrap(), repository);
        let password = RegistrySettings { password: Some(file("npm")), ..RegistrySettings::default() };
        settings.registries.insert("r.example.com".into(), password);
        let chat = "[[notify]]\nname = \"chat\"\nurl = { file = \"npm\" }\n";
        settings.config = toml::from_str(chat).unwrap();
        assert_eq!(
            uses_of(&settings, "npm").iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "namespace \"acme\"",
                "rule \"main\" of acme/api",
                "rule \"agent\" of acme/api",
                "registry \"r.example.com\"",
                "notification \"chat\""
            ]
        );
        assert!(uses_of(&settings, "other").is_empty());
    }
}
