//! The secret values that a runner knows: what it was handed, and the passwords of its private docker configuration.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::buildctl::handover::Handover;
use crate::log::mask::Mask;

/// A mask for everything that must not appear in what the build leaves behind.
pub(super) fn mask(handover: &Handover) -> Mask {
    let mut values: Vec<String> = handover.secrets.values().cloned().collect();
    // `basic BASE64`, or a bare token.
    if let Some(secret) = &handover.source {
        values.push(secret.clone());
        values.extend(secret.strip_prefix("basic ").and_then(password_of));
    }
    if let Some(directory) = std::env::var_os("DOCKER_CONFIG") {
        values.extend(registry_passwords(&PathBuf::from(directory).join("config.json")));
    }
    Mask::new(values)
}

/// The passwords and tokens in a docker configuration; none where it can't be read.
fn registry_passwords(config: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read(config) else { return Vec::new() };
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let auths = config.get("auths").and_then(serde_json::Value::as_object);
    let mut values = Vec::new();
    for auth in auths.into_iter().flat_map(serde_json::Map::values) {
        let text = |name: &str| auth.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        values.extend(text("auth").and_then(|basic| password_of(&basic)));
        values.extend(["password", "identitytoken", "registrytoken"].into_iter().filter_map(text));
    }
    values
}

/// The password in the base64 of `USER:PASSWORD`.
fn password_of(basic: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_every_kind_are_found_in_a_docker_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let auth = STANDARD.encode("kim:pass:word");
        let text = format!(r#"{{"auths":{{"a":{{"auth":"{auth}"}},"b":{{"identitytoken":"token-b"}},"c":{{}}}}}}"#);
        std::fs::write(&file, text).unwrap();
        assert_eq!(registry_passwords(&file), ["pass:word", "token-b"]);
        std::fs::write(&file, "no json").unwrap();
        assert_eq!(registry_passwords(&file), [""; 0]);
        assert_eq!(registry_passwords(&dir.path().join("none")), [""; 0]);
    }
}
