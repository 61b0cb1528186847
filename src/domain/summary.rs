//! Summaries of namespaces and repositories.

/// Characters of a summary at most.
const LONGEST: usize = 100;

/// What is wrong with a summary; none: nothing.
pub(super) fn problem(summary: &str) -> Option<String> {
    let length = summary.chars().count();
    (length > LONGEST).then(|| format!("summary: it has {length} characters; at most {LONGEST} are allowed"))
}
