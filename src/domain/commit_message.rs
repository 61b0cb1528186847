//! What a commit's message asks for. Pure.

/// What asks for no build, wherever it stands in the subject, in any case; those of the older CI services, and our own.
const SKIP: [&str; 4] = ["[skip build]", "[build skip]", "[skip ci]", "[ci skip]"];

/// The longest subject that is kept, in bytes.
const LONGEST_SUBJECT: usize = 1024;

/// A message's first line; of a longer one its beginning.
pub fn subject(message: &str) -> &str {
    let line = message.trim_start().lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(LONGEST_SUBJECT)].trim_end()
}

/// The words in a subject that ask for no build; none: it is built.
pub fn asks_for_no_build(subject: &str) -> Option<&'static str> {
    let subject = subject.to_ascii_lowercase();
    SKIP.into_iter().find(|words| subject.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subject_counts_and_case_does_not_matter() {
        let asks = |message: &str| asks_for_no_build(subject(message));
        assert_eq!(asks("docs: typo [skip ci]"), Some("[skip ci]"));
        assert_eq!(asks("\n[Build Skip] docs\n\nbody"), Some("[build skip]"));
        assert_eq!(asks("[SKIP BUILD]"), Some("[skip build]"));
        assert_eq!(asks("fix\n\nthe commit before had [skip ci]"), None);
        assert_eq!(asks("skip ci"), None);
        assert_eq!(asks(""), None);
    }

    #[test]
    fn of_a_long_subject_the_beginning_is_kept() {
        let long = format!("é{}", "é".repeat(50_000));
        assert_eq!(subject(&long).len(), LONGEST_SUBJECT);
    }
}
