//! The files under `secrets/` that saved things store their secrets in.

use crate::domain::source_platform;
use crate::protocol::Entity;

/// The files under `secrets/` that saving an entity stores a secret in.
pub(in crate::pool) fn secret_files(entity: &Entity) -> Vec<String> {
    match entity {
        Entity::Namespace { .. } | Entity::Repository { .. } | Entity::Rule { .. } | Entity::Builder { .. } => {
            Vec::new()
        }
        Entity::Secret { name, .. } => vec![name.clone()],
        Entity::Registry { host, password, .. } => password.iter().map(|_| secret_name(host)).collect(),
        Entity::Platform { name, token, webhook_secret, .. } => {
            let secrets = platform_secrets(name).into_iter().zip([token, webhook_secret]);
            secrets.filter(|(_, secret)| secret.is_some()).map(|(file, _)| file).collect()
        }
    }
}

/// The file under `secrets/` that a registry's password is kept in.
pub(super) fn secret_name(host: &str) -> String {
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("registry-{name}")
}

/// The files under `secrets/` that a platform's token and the secret of its webhooks are kept in.
pub(super) fn platform_secrets(name: &str) -> [String; 2] {
    [source_platform::token_file(name), source_platform::webhook_secret_file(name)]
}
