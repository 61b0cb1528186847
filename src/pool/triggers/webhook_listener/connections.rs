//! Connections of the webhook listener: how many there are, from whom, and how long each may keep the listener waiting.
//!
//! Everyone is let in: where there is no room, the connection that has kept the listener waiting longest makes some,
//! the newcomer's own address first. So one address can neither keep the others out nor hold anything for long.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How many connections there are at most.
const AT_ONCE: usize = 256;
/// How many of them come from one address.
const PER_ADDRESS: usize = 32;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The handshake and the head arrive.
    Head,
    /// The body arrives.
    Body,
    /// The listener works: it gets the secret, or tells the watcher.
    Work,
    /// The answer is out, and what the client still sends is thrown away until it has read it.
    Farewell,
}

impl Phase {
    /// How long it may last.
    fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Phase::Head => 10,
            Phase::Body => 20,
            // A secret's command has 30 s.
            Phase::Work => 60,
            Phase::Farewell => 5,
        })
    }
}

/// Whom connections are counted for: an IPv4 address, or the network of an IPv6 address, which is one customer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer([u8; 8]);

impl Peer {
    pub(super) fn of(address: IpAddr) -> Peer {
        let mut bytes = [0; 8];
        match address.to_canonical() {
            // No network of the Internet begins with zeros, so these are apart from all of IPv6.
            IpAddr::V4(address) => bytes[4..].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.copy_from_slice(&address.octets()[..8]),
        }
        Peer(bytes)
    }
}

/// The open connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Open>,
}

struct Open {
    peer: Peer,
    phase: Phase,
    since: Instant,
    close: Arc<Notify>,
}

/// What becomes of a newcomer.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    There,
    /// This connection makes room.
    InPlaceOf(u64),
    /// All connections are being worked on.
    None,
}

impl Table {
    fn room_for(&self, peer: Peer) -> Room {
        let mut counts: BTreeMap<Peer, usize> = BTreeMap::new();
        self.open.values().for_each(|open| *counts.entry(open.peer).or_default() += 1);
        let crowded = if counts.get(&peer).is_some_and(|count| *count >= PER_ADDRESS) {
            peer
        } else if self.open.len() >= AT_ONCE {
            // The newcomer may be of a crowd as large as the largest.
            counts.into_iter().max_by_key(|(_, count)| *count).map_or(peer, |(peer, _)| peer)
        } else {
            return Room::There;
        };
        // Ids only grow, so the first has waited longest.
        let waits = |(_, open): &(&u64, &Open)| open.peer == crowded && open.phase != Phase::Work;
        self.open.iter().find(waits).map_or(Room::None, |(id, _)| Room::InPlaceOf(*id))
    }
}

impl Connections {
    /// Lets a connection in; none where all that could make room are being worked on.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Connection> {
        let mut table = self.lock();
        match table.room_for(peer) {
            Room::There => {}
            Room::None => return None,
            Room::InPlaceOf(id) => {
                if let Some(open) = table.open.remove(&id) {
                    open.close.notify_one();
                }
            }
        }
        let (id, close) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        table.open.insert(id, Open { peer, phase: Phase::Head, since: Instant::now(), close: close.clone() });
        Some(Connection { connections: self.clone(), id, peer, close })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that was let in, until it is dropped.
pub(super) struct Connection {
    connections: Arc<Connections>,
    id: u64,
    pub(super) peer: Peer,
    close: Arc<Notify>,
}

impl Connection {
    /// Begins another phase.
    pub(super) fn enter(&self, phase: Phase) {
        if let Some(open) = self.connections.lock().open.get_mut(&self.id) {
            (open.phase, open.since) = (phase, Instant::now());
        }
    }

    /// When its phase has lasted too long; none where it had to make room.
    fn end(&self) -> Option<Instant> {
        self.connections.lock().open.get(&self.id).map(|open| open.since + open.phase.limit())
    }

    /// Returns when the connection has to make room, or a phase has lasted too long.
    pub(super) async fn over(&self) {
        loop {
            let Some(end) = self.end().filter(|end| *end > Instant::now()) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                () = self.close.notified() => return,
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::of([192, 0, 2, number].into())
    }

    #[test]
    fn one_address_crowds_out_itself_alone() {
        let connections = Arc::new(Connections::default());
        let honest = connections.admit(peer(1)).unwrap();
        let crowd: Vec<Connection> = (0..400).filter_map(|_| connections.admit(peer(2))).collect();
        assert_eq!(connections.lock().open.len(), PER_ADDRESS + 1);
        let open = |connection: &Connection| connections.lock().open.contains_key(&connection.id);
        assert!(open(&honest) && !open(&crowd[0]) && open(&crowd[399]));
    }

    #[test]
    fn where_all_is_full_the_largest_crowd_makes_room() {
        let connections = Arc::new(Connections::default());
        let mut held: Vec<Connection> = Vec::new();
        for number in 0..8 {
            held.extend((0..PER_ADDRESS).map(|_| connections.admit(peer(number)).unwrap()));
        }
        assert_eq!(held.len(), AT_ONCE);
        held.extend((0..20).map(|number| connections.admit(peer(100 + number)).unwrap()));
        let lone = (0..20).all(|number| connections.lock().open.values().any(|open| open.peer == peer(100 + number)));
        assert!(lone && connections.lock().open.len() == AT_ONCE);
    }

    #[test]
    fn what_is_being_worked_on_is_not_given_up() {
        let connections = Arc::new(Connections::default());
        let held: Vec<Connection> = (0..PER_ADDRESS).map(|_| connections.admit(peer(1)).unwrap()).collect();
        held.iter().for_each(|connection| connection.enter(Phase::Work));
        assert!(connections.admit(peer(1)).is_none());
        held[5].enter(Phase::Farewell);
        assert_eq!(connections.lock().room_for(peer(1)), Room::InPlaceOf(5));
        drop(held);
        assert!(connections.lock().open.is_empty());
    }

    #[test]
    fn each_phase_has_its_own_time() {
        let connections = Arc::new(Connections::default());
        let connection = connections.admit(peer(1)).unwrap();
        let left = || connection.end().unwrap() - Instant::now();
        assert!(left() <= Duration::from_secs(10));
        connection.enter(Phase::Body);
        assert!(left() > Duration::from_secs(10), "the body's time begins with it");
        let crowd: Vec<Connection> = (0..PER_ADDRESS).map(|_| connections.admit(peer(1)).unwrap()).collect();
        assert_eq!((connection.end(), crowd.len()), (None, PER_ADDRESS), "it made room");
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_ipv4_in_ipv6_is_ipv4() {
        let of = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("::1"));
    }
}
