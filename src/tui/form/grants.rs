//! The fields of rules and namespaces that give builds something: secrets, ssh keys, networks, places to pull from.

use super::field::Field;
use super::reader::{ANY, Reader, SECRET, words};
use crate::domain::grant_keys::{MOST_SECRETS, NetworkMode, SecretRefs};
use crate::domain::namespace::Namespace;
use crate::domain::reason::reason;
use crate::domain::rule::Rule;
use crate::domain::secret_ref;

/// The page that they stand on.
pub(super) const PAGE: &str = "form.page.grants";

/// The fields of a rule; the secrets last, for their lines grow in number.
pub(super) fn rule_fields(value: &Rule) -> Vec<Field> {
    let network = value.network_mode.map_or(ANY, NetworkMode::word);
    let mut fields = vec![
        Field::choice("network_mode", words([ANY, "sandbox", "none", "host"]), network),
        Field::toggle("keep_git", value.keep_git),
        Field::text("plain_args", &value.plain_args.join(", ")),
        Field::text("ssh", &value.ssh.join(", ")),
    ];
    fields.extend(secrets(&value.secrets));
    fields
}

/// The fields of a namespace.
pub(super) fn namespace_fields(value: &Namespace) -> Vec<Field> {
    let mut fields = vec![
        Field::choice("network_mode", words(NetworkMode::ALL.map(NetworkMode::word)), value.network_mode.word()),
        Field::toggle("allow_host_network", value.allow_host_network),
        Field::text("pull_from", &value.pull_from.join(", ")),
        Field::text("ssh", &value.ssh.join(", ")),
    ];
    fields.extend(secrets(&value.secrets));
    fields
}

/// A line for each secret, and an empty one.
fn secrets(secrets: &SecretRefs) -> Vec<Field> {
    let line = |(id, reference)| format!("{id}={reference}");
    let lines = secrets.iter().map(line).chain((secrets.len() < MOST_SECRETS).then(String::new));
    lines.enumerate().map(|(number, text)| Field::text(SECRET, &text).numbered(number)).collect()
}

/// Takes the fields over into a rule.
pub(super) fn read_rule(reader: &mut Reader, rule: &mut Rule) {
    rule.network_mode = NetworkMode::from_word(&reader.text("network_mode"));
    rule.keep_git = reader.is_on("keep_git");
    rule.plain_args = reader.list("plain_args");
    rule.ssh = reader.list("ssh");
    rule.secrets = read_secrets(reader);
}

/// Takes the fields over into a namespace.
pub(super) fn read_namespace(reader: &mut Reader, namespace: &mut Namespace) {
    namespace.network_mode = NetworkMode::from_word(&reader.text("network_mode")).unwrap_or_default();
    namespace.allow_host_network = reader.is_on("allow_host_network");
    namespace.pull_from = reader.list("pull_from");
    namespace.ssh = reader.list("ssh");
    namespace.secrets = read_secrets(reader);
}

fn read_secrets(reader: &mut Reader) -> SecretRefs {
    let mut secrets = SecretRefs::new();
    for (number, text) in reader.lines(SECRET) {
        match secret_ref::parse_named(&text) {
            Ok((id, _)) if secrets.contains_key(&id) => reader.wrong(SECRET, number, reason!("form.secret_twice", id)),
            Ok((id, reference)) => drop(secrets.insert(id, reference)),
            Err(error) => reader.wrong(SECRET, number, error),
        }
    }
    secrets
}
