//! `[[notify]]`: receivers of builds' events.

use globset::{Glob, GlobBuilder};
use serde::{Deserialize, Serialize};

use crate::domain::event::Event;
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::secret_ref::SecretRef;

/// `[[notify]]`: a URL or a command, and the events that it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// Its name, unique among them.
    pub name: String,
    /// Where the JSON is sent to (POST); there is this or `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<NotifyUrl>,
    /// What is run, under `sh -c`, with the JSON on its standard input; there is this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Events that it gets.
    #[serde(default = "failed_and_fixed")]
    pub events: Vec<Event>,
    /// Only builds of repositories that one of these globs matches, such as `acme/*`; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// The secret that the body is signed with; absent: it is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
}

/// Where a notification is sent to. The path of such an address is often all that keeps strangers from writing there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NotifyUrl {
    /// `url = "https://chat.example.com/hooks/slipway"`
    Plain(String),
    /// `url = { file = "chat" }`: kept as a secret.
    Secret(SecretRef),
}

/// Whether text is an address that something can be posted to.
pub fn is_notify_url(url: &str) -> bool {
    host_of(url).is_some()
}

/// What people want to hear of who say nothing else.
fn failed_and_fixed() -> Vec<Event> {
    vec![Event::Failed, Event::Fixed]
}

impl NotifyConfig {
    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(name::check(NameKind::Notification, &self.name).err().map(|error| error.to_string()));
        let at = |text: String| format!("notify {:?}: {text}", self.name);
        match (&self.url, &self.command) {
            (Some(NotifyUrl::Plain(url)), None) if !is_notify_url(url) => {
                problems.push(at("url: write it as https://HOST/PATH or http://HOST/PATH".into()));
            }
            (None, Some(command)) if command.trim().is_empty() => problems.push(at("command: it is empty".into())),
            (None, Some(_)) if self.secret.is_some() => {
                problems.push(at("secret: a command needs no signature; leave it out".into()));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => problems.push(at("url, command: give one of them".into())),
        }
        if self.events.is_empty() {
            problems.push(at("events: name one, or leave it out for failed and fixed".into()));
        }
        for text in &self.repositories {
            if let Err(error) = glob(text) {
                problems.push(at(format!("repositories: {text:?} is no glob: {}; write it as acme/*", error.kind())));
            }
        }
        problems
    }

    /// Whether it gets events of a repository's builds.
    pub fn is_for(&self, path: &RepositoryPath) -> bool {
        let path = path.to_string();
        let fits = |text: &String| glob(text).is_ok_and(|glob| glob.compile_matcher().is_match(&path));
        self.repositories.is_empty() || self.repositories.iter().any(fits)
    }

    /// Where it goes, for people: never a URL's path, which may be a secret.
    pub fn target(&self) -> String {
        match (&self.url, &self.command) {
            (Some(NotifyUrl::Plain(url)), _) => host_of(url).unwrap_or("?").to_owned(),
            (Some(NotifyUrl::Secret(SecretRef::File(name))), _) => format!("secrets/{name}"),
            (Some(NotifyUrl::Secret(SecretRef::Env(name))), _) => format!("${name}"),
            (Some(NotifyUrl::Secret(SecretRef::Command(command))), _) => format!("`{command}`"),
            (None, command) => command.clone().unwrap_or_default(),
        }
    }
}

/// `*` stays in its namespace.
fn glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).build()
}

/// The host of an http(s) URL, with its port and without credentials.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let is_host = !host.is_empty() && !host.starts_with(':') && !url.contains(|c: char| c.is_whitespace());
    is_host.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::Config;

    fn problems(text: &str) -> Vec<String> {
        toml::from_str::<Config>(text).unwrap().problems()
    }

    #[test]
    fn who_says_nothing_else_is_told_of_failures_and_of_their_end() {
        let text = "[[notify]]\nname = \"chat\"\nurl = \"https://chat.example.com/hook\"\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.notify[0].events, [Event::Failed, Event::Fixed]);
        assert_eq!(config.problems(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_work_is_told_with_its_name() {
        for (text, said) in [
            ("name = \"a\"", "give one of them"),
            ("name = \"a\"\nurl = \"https://x\"\ncommand = \"y\"", "give one of them"),
            ("name = \"a\"\nurl = \"ftp://x/y\"", "https://HOST/PATH"),
            ("name = \"a\"\nurl = \"https:///y\"", "https://HOST/PATH"),
            ("name = \"a\"\ncommand = \" \"", "empty"),
            ("name = \"a\"\ncommand = \"x\"\nsecret = { env = \"S\" }", "no signature"),
            ("name = \"a\"\ncommand = \"x\"\nevents = []", "failed and fixed"),
            ("name = \"a\"\ncommand = \"x\"\nrepositories = [\"a[\"]", "is no glob"),
            ("name = \"a/b\"\ncommand = \"x\"", "notification name"),
            ("name = \"a\"\ncommand = \"x\"\n[[notify]]\nname = \"a\"\ncommand = \"y\"", "two of the name"),
        ] {
            let problems = problems(&format!("[[notify]]\n{text}\n"));
            assert!(problems.len() == 1 && problems[0].contains(said), "{text}: {problems:?}");
        }
        assert!(toml::from_str::<Config>("[[notify]]\nname = \"a\"\ncommand = \"x\"\nevents = [\"Failed\"]").is_err());
    }

    #[test]
    fn an_address_may_be_a_secret_and_is_named_by_where_it_is_kept() {
        for (url, shown) in [
            ("{ file = \"chat\" }", "secrets/chat"),
            ("{ env = \"CHAT_URL\" }", "$CHAT_URL"),
            ("{ command = \"pass chat\" }", "`pass chat`"),
            ("\"https://chat.example.com/s3cret\"", "chat.example.com"),
        ] {
            let text = format!("[[notify]]\nname = \"chat\"\nurl = {url}\n");
            let config: Config = toml::from_str(&text).unwrap();
            assert_eq!(config.problems(), Vec::<String>::new(), "{url}");
            assert_eq!(config.notify[0].target(), shown);
            assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn repositories_are_chosen_by_globs_and_a_star_stays_in_its_namespace() {
        let notify = |globs: &[&str]| NotifyConfig {
            name: "a".into(),
            url: None,
            command: Some("true".into()),
            events: failed_and_fixed(),
            repositories: globs.iter().map(|glob| (*glob).to_owned()).collect(),
            secret: None,
        };
        let path = "acme/api".parse().unwrap();
        for (globs, fits) in [
            (&[][..], true),
            (&["acme/*"], true),
            (&["other/*", "acme/a{b,p}i"], true),
            (&["*"], false),
            (&["acme"], false),
        ] {
            assert_eq!(notify(globs).is_for(&path), fits, "{globs:?}");
        }
    }

    #[test]
    fn a_urls_path_and_password_are_never_shown() {
        for (url, host) in [
            ("https://hooks.example.com/T0/B1/s3cret", Some("hooks.example.com")),
            ("http://ann:s3cret@[::1]:8080?key=s3cret", Some("[::1]:8080")),
            ("https://", None),
            ("https://a b/", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
