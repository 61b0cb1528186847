//! Bodies of webhooks, taken in parts: hashed while they arrive, within a limit for each and one for all together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::connections::Peer;
use crate::source::webhook::{HookError, Trust, Verifier};
use crate::sys::memory;

/// The largest body, in bytes: GitHub delivers up to 25 MB.
pub(super) const LARGEST: usize = 25 * 1024 * 1024;
/// So much of each body is taken in any case: nearly all pushes are smaller.
const FREE: usize = 64 * 1024;
/// All bodies together have so much room beyond that, in bytes; those of one address have half of it.
const ROOM: usize = 2 * LARGEST;
/// After a body of this size the memory that it took is given back to the system.
const GIVE_BACK: usize = 1024 * 1024;

/// Why a body is not taken.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It has more than [`LARGEST`] bytes.
    TooLarge,
    /// Other large bodies arrive at the same time.
    NoRoom,
    /// The client broke off.
    CutShort,
    /// It does not fit the signature.
    Hook(HookError),
}

/// The room that bodies share.
#[derive(Default)]
pub(super) struct Rooms(Mutex<BTreeMap<Peer, usize>>);

/// The part of the room that one body takes, until it is dropped.
struct Taken {
    rooms: Arc<Rooms>,
    peer: Peer,
    bytes: usize,
}

impl Taken {
    /// Takes more; false where there is none.
    fn grow(&mut self, more: usize) -> bool {
        let mut rooms = self.rooms.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = rooms.values().sum();
        let of_peer = rooms.entry(self.peer).or_default();
        if all + more > ROOM || *of_peer + more > ROOM / 2 {
            return false;
        }
        *of_peer += more;
        self.bytes += more;
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut rooms = self.rooms.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_peer) = rooms.get_mut(&self.peer) {
            *of_peer -= self.bytes;
            if *of_peer == 0 {
                rooms.remove(&self.peer);
            }
        }
    }
}

/// A whole body whose sender has the secret.
pub(super) struct Verified {
    pub(super) bytes: Vec<u8>,
    pub(super) trust: Trust,
    _taken: Taken,
}

impl Drop for Verified {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.bytes));
    }
}

/// Takes a body, and decides whether it fits the signature.
pub(super) async fn take(
    mut body: Incoming,
    mut verifier: Verifier,
    rooms: &Arc<Rooms>,
    peer: Peer,
) -> Result<Verified, BodyError> {
    let mut taken = Taken { rooms: rooms.clone(), peer, bytes: 0 };
    let mut bytes = Vec::new();
    let received = receive(&mut body, &mut bytes, &mut verifier, &mut taken).await;
    let trust = received.and_then(|()| verifier.finish().map_err(BodyError::Hook));
    match trust {
        Ok(trust) => Ok(Verified { bytes, trust, _taken: taken }),
        Err(error) => {
            give_back(bytes);
            Err(error)
        }
    }
}

async fn receive(
    body: &mut Incoming,
    bytes: &mut Vec<u8>,
    verifier: &mut Verifier,
    taken: &mut Taken,
) -> Result<(), BodyError> {
    while let Some(frame) = body.frame().await {
        // Trailers are of no interest.
        let Ok(part) = frame.map_err(|_| BodyError::CutShort)?.into_data() else { continue };
        if bytes.len() + part.len() > LARGEST {
            return Err(BodyError::TooLarge);
        }
        let beyond = |length: usize| length.saturating_sub(FREE);
        let more = beyond(bytes.len() + part.len()) - beyond(bytes.len());
        if !taken.grow(more) {
            return Err(BodyError::NoRoom);
        }
        verifier.update(&part);
        if bytes.capacity() < bytes.len() + part.len() {
            // Not the double, as a vector grows by itself: the room is counted.
            bytes.reserve_exact(part.len().max(bytes.len() / 4));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(())
}

/// Frees a body.
fn give_back(bytes: Vec<u8>) {
    let large = bytes.capacity() >= GIVE_BACK;
    drop(bytes);
    if large {
        memory::give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_half_of_the_room_and_gives_it_back() {
        let rooms = Arc::new(Rooms::default());
        let of = |number: u8| Taken { rooms: rooms.clone(), peer: Peer::of([192, 0, 2, number].into()), bytes: 0 };
        let (mut greedy, mut other, mut third) = (of(1), of(2), of(3));
        assert!(greedy.grow(ROOM / 2) && !greedy.grow(1) && other.grow(ROOM / 2));
        assert!(!third.grow(1), "all is taken");
        drop(greedy);
        assert!(third.grow(ROOM / 2));
        drop((other, third));
        assert!(rooms.0.lock().unwrap().is_empty());
    }
}
