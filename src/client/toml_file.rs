//! TOML files that a person hands to a command: read with the position and the excerpt of what is wrong.

pub use crate::store::read::{ReadError, parse, text};
