//! When the next frame may be drawn: at once for a key, seldom for a flood. Pure, given the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// At most so many frames in every [`WINDOW`], whatever happens: thirty a second.
const MOST: usize = 3;
/// See [`MOST`].
const WINDOW: Duration = Duration::from_millis(100);
/// What nobody asked for by a key is drawn this long after the last frame at the earliest.
const UNASKED: Duration = Duration::from_millis(66);
/// Who presses keys gets the frames: each of them shows what else is new, too.
const AFTER_A_KEY: Duration = Duration::from_millis(200);
/// What nobody asked for may send so many bytes a second: a slow line has room for keys beside it.
const UNASKED_BYTES_A_SECOND: u64 = 8_000;
/// A flood is still seen to move.
const LONGEST: Duration = Duration::from_millis(500);

/// Why a frame is to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Something changed by itself.
    Unasked,
    /// A person did something.
    Asked,
}

/// The pace of frames.
#[derive(Debug, Default)]
pub struct Pace {
    wanted: Option<Cause>,
    /// When the last frames were drawn, the newest last.
    frames: VecDeque<Instant>,
    last_bytes: u64,
    /// The last frame was for a key.
    after_key: bool,
}

impl Pace {
    /// A frame is to be drawn.
    pub fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
    }

    /// When the frame that is wanted may be drawn; none where none is.
    pub fn due(&self) -> Option<Instant> {
        let cause = self.wanted?;
        // The first frame has nothing to wait for.
        let Some(last) = self.frames.back() else { return Some(Instant::now()) };
        let full = self.frames.len() >= MOST;
        let earliest = self.frames.front().filter(|_| full).map_or(*last, |first| *first + WINDOW);
        Some(match cause {
            Cause::Asked => earliest,
            Cause::Unasked => {
                let millis = self.last_bytes.saturating_mul(1000) / UNASKED_BYTES_A_SECOND;
                let least = if self.after_key { AFTER_A_KEY } else { UNASKED };
                earliest.max(*last + Duration::from_millis(millis).clamp(least, LONGEST))
            }
        })
    }

    /// A frame was drawn.
    pub fn drawn(&mut self, at: Instant, bytes: u64) {
        self.after_key = self.wanted.take() == Some(Cause::Asked);
        self.last_bytes = bytes;
        self.frames.push_back(at);
        if self.frames.len() > MOST {
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_drawn_at_once_and_a_flood_is_not() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.drawn(now, 3000);
        assert_eq!(pace.due(), None);
        pace.want(Cause::Unasked);
        assert_eq!(pace.due(), Some(now + Duration::from_millis(375)));
        pace.want(Cause::Asked);
        pace.want(Cause::Unasked);
        assert_eq!(pace.due(), Some(now));
    }

    #[test]
    fn a_flood_leaves_room_for_keys() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut now = start;
        // A flood wants frames all the time, somebody presses 25 keys a second.
        for key in 1..250 {
            let pressed = start + Duration::from_millis(40 * key);
            loop {
                pace.want(Cause::Unasked);
                match pace.due() {
                    Some(due) if due < pressed => now = now.max(due),
                    _ => break,
                }
                pace.drawn(now, 10);
            }
            pace.want(Cause::Asked);
            assert!(pace.due().is_some_and(|due| due <= pressed), "key {key} waits");
            now = pressed;
            pace.drawn(now, 10);
        }
    }

    #[test]
    fn there_are_never_more_than_thirty_frames_in_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut drawn) = (start, Vec::new());
        while now < start + Duration::from_secs(5) {
            pace.want(Cause::Asked);
            now = now.max(pace.due().unwrap_or(now)) + Duration::from_millis(1);
            pace.drawn(now, 100);
            drawn.push(now);
        }
        for (index, first) in drawn.iter().enumerate() {
            let within = drawn[index..].iter().take_while(|at| **at < *first + Duration::from_secs(1)).count();
            assert!(within <= 30, "{within}");
        }
    }
}
