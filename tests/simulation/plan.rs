//! What a simulation is made of: everything that follows from its seed, and what was left out to make a failure smaller.

use std::collections::{BTreeMap, BTreeSet};

use slipway::domain::builder::{Builder, BuilderKind};
use slipway::domain::config::NotifyConfig;
use slipway::domain::duration::HumanDuration;
use slipway::domain::name::RepositoryPath;
use slipway::domain::namespace::Namespace;
use slipway::domain::notification;
use slipway::domain::repository::Repository;
use slipway::domain::secret_ref::SecretRef;
use slipway::domain::source_platform::{PlatformKind, SourcePlatform};
use slipway::store::settings::Settings;

use crate::random::Random;

/// A kind of trouble that the world makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The pool is killed, and the next one starts from the disk.
    Kill,
    /// The host reboots: the runners end, too.
    Reboot,
    /// The disk is full, or read-only, for a while.
    Disk,
    /// The registry can't be asked for a while.
    Registry,
    /// A builder is gone or hangs for a while.
    Builder,
    /// Runners die, hang, and fail for reasons of the machinery.
    Runner,
    /// Launches fail.
    Launch,
    /// A source can't be reached for a while.
    Source,
    /// Copies of a source lag behind it.
    Lag,
    /// Webhooks are lost, doubled, late and unsigned.
    Webhook,
    /// The clock is set back and forth.
    Clock,
    /// Receivers of notifications fail.
    Receiver,
    /// People cancel, replay, retry, stop the pool.
    People,
}

impl Fault {
    pub const ALL: [Fault; 13] = [
        Fault::Kill,
        Fault::Reboot,
        Fault::Disk,
        Fault::Registry,
        Fault::Builder,
        Fault::Runner,
        Fault::Launch,
        Fault::Source,
        Fault::Lag,
        Fault::Webhook,
        Fault::Clock,
        Fault::Receiver,
        Fault::People,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Reboot => "reboot",
            Fault::Disk => "disk",
            Fault::Registry => "registry",
            Fault::Builder => "builder",
            Fault::Runner => "runner",
            Fault::Launch => "launch",
            Fault::Source => "source",
            Fault::Lag => "lag",
            Fault::Webhook => "webhook",
            Fault::Clock => "clock",
            Fault::Receiver => "receiver",
            Fault::People => "people",
        }
    }
}

/// A simulation.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub repositories: usize,
    /// How long the world is in trouble, in minutes.
    pub minutes: u64,
    /// The pause between two pushes to one source on average, in seconds.
    pub push_every: u64,
    /// How often each source is asked for its refs, in seconds.
    pub poll: u64,
    /// How many builds the pool runs at once.
    pub limit: u32,
    /// The longest usual build, in seconds.
    pub longest_build: u64,
    pub faults: BTreeSet<Fault>,
}

impl Plan {
    /// A small world with all faults.
    pub fn of(seed: u64) -> Plan {
        let mut random = Random::of(seed, 0);
        let repositories = 1 + random.below(5);
        let minutes = 30 + random.below(120) as u64;
        let push_every = *random.pick(&[60, 300, 900]);
        let poll = *random.pick(&[5, 60, 60, 300]);
        let limit = 1 + random.below(4) as u32;
        let longest_build: u64 = *random.pick(&[20, 120, 600]);
        // Where more is pushed than can be built, the queue only grows.
        let affordable = push_every * u64::from(limit) / (2 * repositories as u64);
        Plan {
            seed,
            repositories,
            minutes,
            push_every,
            poll,
            limit,
            longest_build: longest_build.min(affordable),
            faults: Fault::ALL.into_iter().filter(|_| random.below(3) > 0).collect(),
        }
    }

    /// A week of a large host, with all faults.
    pub fn week(seed: u64) -> Plan {
        Plan {
            seed,
            repositories: 1_000,
            minutes: 7 * 24 * 60,
            push_every: 4 * 60 * 60,
            poll: 30 * 60,
            limit: 8,
            longest_build: 110,
            faults: Fault::ALL.into_iter().collect(),
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The arguments that run it again.
    pub fn arguments(&self) -> String {
        let words: Vec<&str> = self.faults.iter().map(|fault| fault.word()).collect();
        format!(
            "--seed {} --repositories {} --minutes {} --push-every {} --poll {} --limit {} --longest-build {} --faults {}",
            self.seed,
            self.repositories,
            self.minutes,
            self.push_every,
            self.poll,
            self.limit,
            self.longest_build,
            if words.is_empty() { "none".to_owned() } else { words.join(",") }
        )
    }

    /// The settings of its pool.
    pub fn settings(&self) -> Settings {
        let mut random = Random::of(self.seed, 1);
        let mut settings = Settings::default();
        settings
            .namespaces
            .insert("acme".into(), Namespace { registry: "registry.example.com".into(), ..Namespace::default() });
        for number in 0..self.repositories {
            settings.repositories.insert(path(number), repository(number, &mut random));
        }
        let pool = &mut settings.config.pool;
        pool.builds = Some(self.limit);
        pool.poll = HumanDuration::seconds(self.poll);
        pool.timeout = HumanDuration::seconds(self.longest_build * 3);
        pool.pause_after = *random.pick(&[0, 5]);
        settings.config.retention.builds = *random.pick(&[None, Some(500), Some(5_000)]);
        settings.config.notify.push(NotifyConfig {
            name: "chat".into(),
            url: None,
            command: Some("true".into()),
            events: notification::Event::ALL.to_vec(),
            repositories: Vec::new(),
            secret: None,
        });
        let mut github = SourcePlatform::new(PlatformKind::Github);
        github.token = Some(SecretRef::File("token".into()));
        settings.platforms.insert("github".into(), github);
        settings.builders = builders(&mut random, self.limit);
        settings
    }
}

pub fn path(number: usize) -> RepositoryPath {
    format!("acme/app{number}").parse().unwrap()
}

/// A repository: its kind of rules depends on its number, so that a smaller world has the same ones.
fn repository(number: usize, random: &mut Random) -> Repository {
    let rules = match number % 6 {
        0 => {
            "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }, { name = \"main\", commit = 8 }]\n"
        }
        1 => {
            "[[rule]]\nname = \"branches\"\nbranch = { regex = '(?<b>.*)' }\nversions = [{ name = \"${b}\" }]\nsupersede = \"queued\"\n\
             [[rule]]\nname = \"tags\"\ntag = { regex = 'v(?<v>.*)' }\nversions = [{ name = \"${v}\" }, { name = \"latest\" }]\n"
        }
        2 => {
            "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"edge\" }]\nsupersede = \"running\"\n\
             [[rule]]\nname = \"dated\"\nbranch = \"main\"\nversions = [{ name = \"n\", time = \"yyyyMMddHHmm\", commit = 12 }]\n"
        }
        // The second rule makes a tag of the first.
        3 => {
            "[[rule]]\nname = \"one\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n\
             [[rule]]\nname = \"two\"\nbranch = { regex = 'ma.*' }\nversions = [{ name = \"latest\" }]\n"
        }
        4 => {
            "[[rule]]\nname = \"source\"\nbranch = \"main\"\nversions = [{ name = \"source\" }]\npaths = [\"src/**\"]\n\
             [[rule]]\nname = \"all\"\nbranch = { regex = '.*' }\nversions = [{ name = \"c\", commit = 40 }]\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n"
        }
        _ => {
            "immutable = true\n[[rule]]\nname = \"tags\"\ntag = { regex = '(?<v>.*)' }\nversions = [{ name = \"fixed\" }, { name = \"latest\" }]\n\
             [[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"m\", commit = 20 }]\n"
        }
    };
    let mut repository: Repository = toml::from_str(rules).unwrap();
    repository.source = Some(slipway::domain::repository::Source {
        platform: (random.below(2) == 0).then(|| "github".to_owned()),
        url: format!("https://git.example.com/acme/app{number}.git"),
        ..Default::default()
    });
    repository
}

fn builders(random: &mut Random, limit: u32) -> BTreeMap<String, Builder> {
    let existing = |name: &str, slots: u32, platforms: &[&str]| {
        let builder = Builder {
            address: Some(format!("unix:///run/{name}.sock")),
            slots: Some(slots),
            platforms: platforms.iter().map(|platform| platform.parse().unwrap()).collect(),
            ..Builder::of(BuilderKind::Existing)
        };
        (name.to_owned(), builder)
    };
    match random.below(3) {
        // The managed one.
        0 => BTreeMap::new(),
        1 => BTreeMap::from([existing("both", limit, &["linux/amd64", "linux/arm64"])]),
        _ => BTreeMap::from([
            existing("amd", limit.div_ceil(2), &["linux/amd64"]),
            existing("arm", limit.div_ceil(2), &["linux/arm64"]),
            existing("more", 1, &["linux/amd64", "linux/arm64"]),
        ]),
    }
}
