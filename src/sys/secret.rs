//! A secret in memory: wiped when dropped, never shown.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};

use secrecy::{ExposeSecret, SecretString};

/// Longest secret in bytes. No token is longer, and a command that prints for ever must end.
pub const LONGEST: u64 = 64 * 1024;

/// A secret. It is wiped from memory when dropped, and shown as `***`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a value over.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(SecretString::from(value.into()))
    }

    /// 32 random bytes of the system in hexadecimal.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn random() -> io::Result<Secret> {
        let mut bytes = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Secret::new(hex::encode(bytes)))
    }

    /// The value itself: for the one place that hands it on.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
