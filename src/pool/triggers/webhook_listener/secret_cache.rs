//! Secrets of webhooks: a command that prints one runs at most once a minute, however many requests come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::secret_ref::SecretRef;
use crate::store::secrets::{Secret, SecretError, Secrets};

/// How long a command's secret is kept.
const KEPT: Duration = Duration::from_secs(60);
/// How long a command that failed is not run again.
const FAILED: Duration = Duration::from_secs(15);

type Result = std::result::Result<Secret, Arc<SecretError>>;

/// What a command printed, or why it failed.
struct Printed {
    reference: SecretRef,
    result: Result,
    at: Instant,
}

impl Printed {
    fn holds(&self, reference: &SecretRef) -> bool {
        let kept = if self.result.is_ok() { KEPT } else { FAILED };
        self.reference == *reference && self.at.elapsed() < kept
    }
}

/// The secrets of all platforms. Those who ask for one at the same time wait for the same command.
#[derive(Default)]
pub(super) struct SecretCache(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Option<Printed>>>>>);

impl SecretCache {
    /// The secret of a platform. Files and variables are read each time: that costs next to nothing, and a new secret
    /// holds at once.
    pub(super) async fn of(&self, platform: &str, reference: &SecretRef, secrets: &Secrets) -> Result {
        if !matches!(reference, SecretRef::Command(_)) {
            return secrets.resolve(reference).await.map_err(Arc::new);
        }
        let printed =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(platform.to_owned()).or_default().clone();
        let mut printed = printed.lock().await;
        if let Some(printed) = printed.as_ref().filter(|printed| printed.holds(reference)) {
            return printed.result.clone();
        }
        let result = secrets.resolve(reference).await.map_err(Arc::new);
        *printed = Some(Printed { reference: reference.clone(), result: result.clone(), at: Instant::now() });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_command_runs_once_for_all_who_ask_and_again_when_it_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let secrets = Secrets::at(dir.path());
        let command = |prints: &str| SecretRef::Command(format!("echo run >> {}; {prints}", runs.display()));
        let cache = SecretCache::default();
        let count = || fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
        let asked = futures_util::future::join_all((0..20).map(|_| async {
            cache.of("code", &command("sleep 0.1; echo one"), &secrets).await.unwrap().expose().to_owned()
        }));
        assert_eq!(asked.await, vec!["one"; 20]);
        assert_eq!(count(), 1);
        assert_eq!(cache.of("code", &command("echo two"), &secrets).await.unwrap().expose(), "two");
        for _ in 0..3 {
            assert!(cache.of("code", &command("exit 1"), &secrets).await.is_err());
        }
        assert_eq!(count(), 3, "that it failed is kept, too");
    }
}
