//! Who asked for a change or a build: the user that the kernel names at the other end of the pool's socket.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reason::argument_by_name;

/// A user of the pool's host, or one of the parts of slipway that change something unasked. `build.toml`, `audit.log`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Recorded")]
pub struct Requester {
    /// The user's name; "" where nobody asked.
    pub name: String,
    /// The user's number. None: a part of slipway, or a record of before users were known by their number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The user who logged in, where that is another one: who called sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// The user whose login a process descends from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user's name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
}

impl Requester {
    /// A change in a file of the home that somebody edited: who, the file does not say.
    pub const FILE: &str = "file";
    /// slipway itself: an automatically created repository, a renewed token.
    pub const SLIPWAY: &str = "slipway";

    /// A part of slipway, such as [`Requester::FILE`].
    pub fn part(name: &str) -> Requester {
        Requester { name: name.to_owned(), uid: None, login: None }
    }

    /// Whether nobody asked.
    pub fn is_nobody(&self) -> bool {
        self.name.is_empty() && self.uid.is_none()
    }

    /// Whether `who` names this requester: by name, or by number, of the user or of the login.
    pub fn is(&self, who: &str) -> bool {
        let login = self.login.as_ref();
        let uid = who.parse::<u32>().ok();
        self.name == who
            || login.is_some_and(|login| login.name == who)
            || uid.is_some() && (self.uid == uid || login.map(|login| login.uid) == uid)
    }
}

/// For people: `kim`, and `kim (as root)` after sudo.
impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.login {
            Some(login) => write!(f, "{} (as {})", login.name, self.name),
            None => f.write_str(&self.name),
        }
    }
}

argument_by_name!(Requester);

/// As it stands in records; those of before hold the name alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Recorded {
    Name(String),
    Whole {
        name: String,
        #[serde(default)]
        uid: Option<u32>,
        #[serde(default)]
        login: Option<Login>,
    },
}

impl From<Recorded> for Requester {
    fn from(recorded: Recorded) -> Requester {
        match recorded {
            Recorded::Name(name) => Requester { name, uid: None, login: None },
            Recorded::Whole { name, uid, login } => Requester { name, uid, login },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        by: Requester,
        state: String,
    }

    #[test]
    fn a_record_of_before_names_its_requester_and_a_new_one_the_number_too() {
        let old: Record = toml::from_str("by = \"kim\"\nstate = \"x\"").unwrap();
        assert_eq!(old.by, Requester { name: "kim".into(), uid: None, login: None });
        let login = Some(Login { name: "kim".into(), uid: 1000 });
        for login in [None, login] {
            let record = Record { by: Requester { name: "root".into(), uid: Some(0), login }, state: "x".into() };
            let text = toml::to_string(&record).unwrap();
            assert_eq!(toml::from_str::<Record>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn the_caller_of_sudo_is_named_first_and_found_by_either_name() {
        let login = Some(Login { name: "kim".into(), uid: 1000 });
        let requester = Requester { name: "root".into(), uid: Some(0), login };
        assert_eq!(requester.to_string(), "kim (as root)");
        for who in ["root", "0", "kim", "1000"] {
            assert!(requester.is(who), "{who}");
        }
        for who in ["", "ann", "1001"] {
            assert!(!requester.is(who), "{who}");
        }
        assert!(Requester::part("").is_nobody() && !requester.is_nobody());
    }
}
