//! The configuration that a managed daemon runs with, and when it is restarted with another one.

use crate::buildkit::config;

/// What a managed daemon runs with: news of its start may be older than an order that is on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    pub running: Option<String>,
    pub ordered: Option<String>,
    /// An order to restart is on its way.
    pub restarting: bool,
    /// No build starts before the restart. Other DNS resolvers alone wait for a moment without builds.
    pub blocks_builds: bool,
}

impl Configuration {
    /// Compares with what is wanted; whether the daemon is to be restarted with it.
    pub fn restart_for(&mut self, wanted: &str, busy: bool) -> bool {
        let known = || [&self.running, &self.ordered].into_iter().flatten();
        let essential = config::without_resolvers(wanted);
        let differs = known().any(|one| one != wanted);
        let differs_much = known().any(|one| config::without_resolvers(one) != essential);
        let is_ordered = self.restarting && self.ordered.as_deref() == Some(wanted);
        let restart = differs && !busy && !is_ordered;
        self.blocks_builds = differs_much || restart || self.restarting;
        restart
    }

    pub fn restart_ordered(&mut self, config: String) {
        self.ordered = Some(config);
        self.restarting = true;
    }

    /// A new daemon answers that runs with this configuration.
    pub fn started(&mut self, config: String) {
        self.restarting &= self.ordered.as_ref() != Some(&config);
        self.running = Some(config);
    }

    /// A daemon of before answers: a restart that was ordered did not end it.
    pub fn adopted(&mut self, config: String) {
        self.restarting = false;
        self.running = Some(config);
    }
}

#[cfg(test)]
#[path = "daemon_configuration_tests.rs"]
mod tests;
