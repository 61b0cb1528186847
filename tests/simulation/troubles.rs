//! What goes wrong, and when it is well again.

use slipway::domain::name::RepositoryPath;
use slipway::pool::core::{Event, ManagedEvent};

use crate::plan::Fault;
use crate::world::{Action, MINUTE, SECOND, World};

/// Something that is out of order.
#[derive(Debug, Clone)]
pub enum Trouble {
    Disk,
    Registry,
    Receivers,
    Builder(String),
    Source(RepositoryPath),
    Lag(RepositoryPath),
}

impl World {
    /// A trouble comes, and the next one is thought of.
    pub fn trouble(&mut self) {
        if !self.troubled {
            return;
        }
        let wait = self.between(SECOND, 6 * MINUTE);
        self.later(wait, Action::Trouble);
        let faults: Vec<Fault> = self.plan.faults.iter().copied().collect();
        if faults.is_empty() {
            return;
        }
        let fault = *self.random.pick(&faults);
        let lasts = self.between(SECOND, 8 * MINUTE);
        self.note(|| format!("TROUBLE: {fault:?}"));
        let trouble = match fault {
            Fault::Kill => return self.end_pool("it is killed"),
            Fault::Reboot => return self.reboot(),
            Fault::Clock => return self.set_clock(),
            Fault::Disk => {
                let full = self.one_in(2);
                (self.disk.full, self.disk.read_only) = (full, !full);
                Trouble::Disk
            }
            Fault::Registry => {
                self.registry_down = true;
                Trouble::Registry
            }
            Fault::Receiver => {
                self.receivers_down = true;
                Trouble::Receivers
            }
            Fault::Builder => match self.stop_builder() {
                Some(name) => Trouble::Builder(name),
                None => return,
            },
            Fault::Source | Fault::Lag => {
                let paths: Vec<RepositoryPath> = self.servers.keys().cloned().collect();
                let path = self.random.pick(&paths).clone();
                // A clock that is set forth makes up to a minute of the pool's patience.
                let lag = self.between(SECOND, MINUTE);
                let Some(server) = self.servers.get_mut(&path) else { return };
                if fault == Fault::Source {
                    server.down = true;
                    Trouble::Source(path)
                } else {
                    server.lag = lag;
                    Trouble::Lag(path)
                }
            }
            Fault::Runner | Fault::Launch | Fault::Webhook | Fault::People => return,
        };
        self.later(lasts, Action::TroubleEnds(trouble));
    }

    pub fn trouble_ends(&mut self, trouble: Trouble) {
        self.note(|| format!("WELL AGAIN: {trouble:?}"));
        match trouble {
            Trouble::Disk => (self.disk.full, self.disk.read_only) = (false, false),
            Trouble::Registry => self.registry_down = false,
            Trouble::Receivers => self.receivers_down = false,
            Trouble::Builder(name) => _ = self.builders_down.remove(&name),
            Trouble::Source(path) => {
                if let Some(server) = self.servers.get_mut(&path) {
                    server.down = false;
                }
            }
            Trouble::Lag(path) => {
                if let Some(server) = self.servers.get_mut(&path) {
                    server.lag = 0;
                }
            }
        }
    }

    /// From here on the world is well, and nobody asks for anything.
    pub fn end_troubles(&mut self) {
        self.note(|| "ALL TROUBLES END".to_owned());
        self.troubled = false;
        (self.disk.full, self.disk.read_only) = (false, false);
        (self.registry_down, self.receivers_down) = (false, false);
        self.builders_down.clear();
        for server in self.servers.values_mut() {
            (server.down, server.lag) = (false, 0);
        }
    }

    fn reboot(&mut self) {
        self.end_pool("the host reboots");
        let alive: Vec<_> = self.runners.iter().filter(|(_, runner)| runner.alive).map(|(id, _)| *id).collect();
        alive.into_iter().for_each(|id| self.gone(id, None));
        self.managed = None;
    }

    fn set_clock(&mut self) {
        let step = match self.random.below(6) {
            0 => self.between(-26 * 60 * MINUTE, 26 * 60 * MINUTE),
            1 | 2 => self.between(-2 * 60 * MINUTE, 2 * 60 * MINUTE),
            _ => self.between(-90 * SECOND, 90 * SECOND),
        };
        self.clock += step;
        self.note(|| format!("the clock is set by {} s", step / SECOND));
    }

    fn stop_builder(&mut self) -> Option<String> {
        let names: Vec<String> = self.disk.settings.builders.keys().cloned().collect();
        if names.is_empty() {
            self.crash_managed();
            return None;
        }
        let name = self.random.pick(&names).clone();
        self.builders_down.insert(name.clone());
        Some(name)
    }

    /// The managed daemon dies, and its supervision starts it again.
    fn crash_managed(&mut self) {
        let Some(config) = self.managed.clone().filter(|_| self.core.is_some()) else { return };
        let builder = slipway::pool::core::BuilderKey { name: "managed".into(), generation: 1 };
        let address = "unix:///run/managed.sock".to_owned();
        self.handle(Event::Managed { builder: builder.clone(), event: ManagedEvent::Gone });
        let wait = self.between(100, MINUTE);
        self.deliver_after(wait, Event::Managed { builder, event: ManagedEvent::Started { address, config } });
    }
}
