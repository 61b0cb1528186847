//! What a push says of itself: its commit's subject, and which files it changes. Asked of the source where a rule wants
//! to know.

use std::collections::BTreeMap;

use crate::domain::changed_files::of_interest;
use crate::domain::commit_message::{asks_for_no_build, subject};
use crate::domain::journal::{PushRecord, Verdict};
use crate::domain::push::{CommitId, RefKind};
use crate::domain::reason::{Reason, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::domain::rule_history::{Past, RuleHistory};
use crate::pool::state::Pool;
use crate::protocol::Error;
use crate::services::sources;
use crate::source::Commit;
use crate::source::Wanted;

/// What is known of a push.
pub(super) struct Facts {
    /// The first line of its commit's message.
    pub subject: Option<String>,
    /// The files that differ from the last good builds' commits.
    changed: BTreeMap<CommitId, Vec<String>>,
    /// Why the source could not say more.
    unknown: Option<Error>,
}

impl Facts {
    /// Finds out what the rules that match want to know.
    pub(super) async fn of(
        pool: &Pool,
        push: &PushRecord,
        repository: &Repository,
        rules: &[(&Rule, RuleHistory)],
    ) -> Facts {
        let mut facts = Facts { subject: push.subject.clone(), changed: BTreeMap::new(), unknown: None };
        let since: Vec<CommitId> = rules
            .iter()
            .filter(|(rule, _)| rule.looks_at_files())
            .filter_map(|(_, history)| history.past(&push.reference).good)
            .map(|(_, commit)| commit)
            .collect();
        let Some(source) = &repository.source else { return facts };
        if rules.is_empty() || facts.subject.is_some() && since.is_empty() {
            return facts;
        }
        let wanted = Wanted {
            store: pool.home.git_dir(&push.repository),
            reference: push.reference.clone(),
            commit: push.commit.clone(),
            since,
        };
        let settings = pool.state().settings.clone();
        let _alone = pool.triggers.alone_with(&push.repository).await;
        // It is never closed.
        let _room = pool.triggers.looks.acquire().await;
        match sources::look(&pool.home, &settings, source, wanted).await {
            Ok(Commit { message, changed }) => {
                facts.subject = Some(subject(&message).to_owned());
                facts.changed = changed;
            }
            Err(error) => {
                tracing::warn!("push {}: what it changes is not known: {error}", push.id);
                facts.unknown = Some(error);
            }
        }
        facts
    }

    /// Why a rule that matches a push does not build it; none: it is built. While another commit of the ref
    /// `is_building`, that may be what a push takes back.
    pub(super) fn against(&self, rule: &Rule, past: &Past, is_building: bool) -> Option<(Verdict, Reason)> {
        let kind = if rule.tag.is_some() { RefKind::Tag } else { RefKind::Branch };
        if let Some(words) = self.subject.as_deref().and_then(|subject| asks_for_no_build(subject, kind)) {
            return Some((Verdict::Skipped, reason!("journal.skip_words", words)));
        }
        // Where it is not known what changed, it is built: an image too many is better than one that is missing.
        let (id, commit) = past.good.as_ref().filter(|_| rule.looks_at_files() && !is_building)?;
        let changed = self.changed.get(commit)?;
        match of_interest(&rule.paths, &rule.ignore_paths, changed) {
            Ok(None) => {
                let count = changed.len();
                Some((Verdict::Paths, reason!("journal.no_path", count, id = *id)))
            }
            // A glob that does not compile can't have been saved.
            Ok(Some(_)) | Err(_) => None,
        }
    }

    /// What people should know besides, where a build was started without knowing everything.
    pub(super) fn note(&self) -> String {
        let told = |error: &Error| format!("; what it changes is not known: {error}");
        self.unknown.as_ref().map_or_else(String::new, told)
    }
}
