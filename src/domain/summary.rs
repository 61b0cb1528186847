//! Summaries of namespaces and repositories.

use super::reason::reason;
use super::setting_problem::SettingProblem;

/// Characters of a summary at most.
const LONGEST: usize = 100;

/// What is wrong with a summary; none: nothing.
pub(super) fn problem(summary: &str) -> Option<SettingProblem> {
    let length = summary.chars().count();
    let reason = || reason!("setting.too_long", length, longest = LONGEST);
    (length > LONGEST).then(|| SettingProblem::of("summary", reason()))
}
