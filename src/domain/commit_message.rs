//! What a commit's message asks for. Pure.

/// What asks for no build, wherever it stands in the subject, in any case.
const SKIP: [&str; 4] = ["[skip build]", "[build skip]", "[skip ci]", "[ci skip]"];

/// The words in a message's subject, its first line, that ask for no build; none: it is built.
pub fn asks_for_no_build(message: &str) -> Option<&'static str> {
    let subject = message.trim_start().lines().next().unwrap_or_default().to_ascii_lowercase();
    SKIP.into_iter().find(|words| subject.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subject_is_read_and_case_does_not_matter() {
        assert_eq!(asks_for_no_build("docs: typo [skip ci]"), Some("[skip ci]"));
        assert_eq!(asks_for_no_build("\n[Build Skip] docs\n\nbody"), Some("[build skip]"));
        assert_eq!(asks_for_no_build("[SKIP BUILD]"), Some("[skip build]"));
        assert_eq!(asks_for_no_build("fix\n\nthe commit before had [skip ci]"), None);
        assert_eq!(asks_for_no_build("skip ci"), None);
        assert_eq!(asks_for_no_build(""), None);
    }
}
