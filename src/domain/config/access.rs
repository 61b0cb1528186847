//! `[access]`: who may do what with the pool, beside its own user and root.

use serde::{Deserialize, Serialize};

use crate::domain::reason::{Reason, quoted, reason};

/// What a user of a pool may do; each right includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Read everything but secrets.
    View,
    /// Also start, replay, retry and cancel builds.
    Build,
    /// Also change settings, and everything else.
    Operate,
}

impl Right {
    /// What its holders are called in `[access]`.
    pub fn holders(self) -> &'static str {
        match self {
            Right::View => "viewers",
            Right::Build => "builders",
            Right::Operate => "operators",
        }
    }
}

/// `[access]`. Each entry is a user's name or number, `@` and a group's name, or `*` for every user of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// Who may do everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
    /// Who may also start, replay, retry and cancel builds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub builders: Vec<String>,
    /// Who may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub viewers: Vec<String>,
}

/// A user of the host, as the user database has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostUser {
    /// The user's number.
    pub uid: u32,
    /// The user's name; none: the number has none.
    pub name: Option<String>,
    /// The names of the user's groups.
    pub groups: Vec<String>,
}

impl AccessConfig {
    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<Reason> {
        let lists = self.lists().into_iter().flat_map(|(right, list)| list.iter().map(move |entry| (right, entry)));
        let wrong = |entry: &str| {
            let name = entry.strip_prefix('@').unwrap_or(entry);
            name.is_empty() || name.chars().any(|c| c.is_whitespace() || matches!(c, '@' | ':' | ','))
        };
        lists
            .filter(|(_, entry)| wrong(entry))
            .map(|(right, entry)| reason!("config.access", list = right.holders(), entry = quoted(entry)))
            .collect()
    }

    /// Whether anybody is named beside the pool's own user.
    pub fn names_others(&self) -> bool {
        self.lists().iter().any(|(_, list)| !list.is_empty())
    }

    /// The highest right of a user; none: the user is not served.
    pub fn right_of(&self, user: &HostUser) -> Option<Right> {
        let names = |entry: &String| match entry.strip_prefix('@') {
            Some(group) => user.groups.iter().any(|name| name == group),
            None => entry == "*" || user.name.as_ref() == Some(entry) || *entry == user.uid.to_string(),
        };
        self.lists().into_iter().find(|(_, list)| list.iter().any(names)).map(|(right, _)| right)
    }

    /// The lists, the highest right first.
    fn lists(&self) -> [(Right, &Vec<String>); 3] {
        [(Right::Operate, &self.operators), (Right::Build, &self.builders), (Right::View, &self.viewers)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, name: &str, groups: &[&str]) -> HostUser {
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        HostUser { uid, name, groups: groups.iter().map(|group| (*group).to_owned()).collect() }
    }

    #[test]
    fn users_have_the_highest_right_that_names_them_or_a_group_of_theirs() {
        let access: AccessConfig =
            toml::from_str("operators = [\"@wheel\"]\nbuilders = [\"@dev\", \"1005\"]\nviewers = [\"ann\"]").unwrap();
        for (user, right) in [
            (user(1000, "kim", &["kim", "wheel", "dev"]), Some(Right::Operate)),
            (user(1001, "ann", &["ann", "dev"]), Some(Right::Build)),
            (user(1001, "ann", &["ann"]), Some(Right::View)),
            (user(1005, "", &[]), Some(Right::Build)),
            (user(1002, "wheel", &["wheels"]), None),
            (user(1003, "@wheel", &[]), None),
        ] {
            assert_eq!(access.right_of(&user), right, "{user:?}");
        }
        let everybody = AccessConfig { viewers: vec!["*".into()], ..AccessConfig::default() };
        assert_eq!(everybody.right_of(&user(1002, "bob", &[])), Some(Right::View));
    }

    #[test]
    fn nobody_else_is_served_unless_config_says_so() {
        assert_eq!(AccessConfig::default().right_of(&user(1000, "kim", &["wheel"])), None);
        assert!(!AccessConfig::default().names_others());
        for wrong in ["", "@", "a b", "@a@b", "kim,ann"] {
            let access = AccessConfig { builders: vec![wrong.into()], ..AccessConfig::default() };
            assert!(access.names_others());
            assert_eq!(access.problems().len(), 1, "{wrong:?}");
        }
        let good = AccessConfig { operators: vec!["@domain-admins".into(), "*".into()], ..AccessConfig::default() };
        assert_eq!(good.problems(), []);
    }
}
