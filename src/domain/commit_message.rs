//! What a commit's message asks for. Pure.

use super::push::RefKind;

/// Words that ask for no build, wherever they stand in the subject, in any case: those of the usual CI services (GitHub,
/// GitLab, Azure) and our own.
const SKIP: [&str; 9] = [
    "[skip build]",
    "[build skip]",
    "[skip ci]",
    "[ci skip]",
    "[no ci]",
    "[skip-ci]",
    "[skip actions]",
    "[actions skip]",
    "***no_ci***",
];

/// The longest subject that is kept, in bytes.
const LONGEST_SUBJECT: usize = 1024;

/// A message's first line; of a longer one its beginning.
pub fn subject(message: &str) -> &str {
    let line = message.trim_start().lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(LONGEST_SUBJECT)].trim_end()
}

/// The words in a subject that ask for no build of a ref of this kind; none: it is built.
///
/// They count for branches alone: release tools write them into the very commit that they tag, and the tag is meant.
pub fn asks_for_no_build(subject: &str, kind: RefKind) -> Option<&'static str> {
    if kind == RefKind::Tag {
        return None;
    }
    let subject = subject.to_ascii_lowercase();
    SKIP.into_iter().find(|words| subject.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subject_counts_and_case_does_not_matter() {
        let asks = |message: &str| asks_for_no_build(subject(message), RefKind::Branch);
        assert_eq!(asks("docs: typo [skip ci]"), Some("[skip ci]"));
        assert_eq!(asks("\n[Build Skip] docs\n\nbody"), Some("[build skip]"));
        assert_eq!(asks("[SKIP BUILD]"), Some("[skip build]"));
        assert_eq!(asks("fix\n\nthe commit before had [skip ci]"), None);
        assert_eq!(asks("skip ci"), None);
        assert_eq!(asks(""), None);
        assert_eq!(asks("ci: no run ***NO_CI***"), Some("***no_ci***"));
        assert_eq!(asks("docs [No CI]"), Some("[no ci]"));
    }

    #[test]
    fn the_tag_of_a_release_tools_commit_is_built() {
        let subject = "chore(release): 1.2.0 [skip ci]";
        assert_eq!(asks_for_no_build(subject, RefKind::Branch), Some("[skip ci]"));
        assert_eq!(asks_for_no_build(subject, RefKind::Tag), None);
    }

    #[test]
    fn of_a_long_subject_the_beginning_is_kept() {
        let long = format!("é{}", "é".repeat(50_000));
        assert_eq!(subject(&long).len(), LONGEST_SUBJECT);
    }
}
