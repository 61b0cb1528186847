//! Which files a rule looks at: its `paths` and `ignore_paths`. Pure.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// The longest glob, in characters: how long one takes to compile grows with its square.
const LONGEST: usize = 1000;
/// How many globs one list has.
const MOST: usize = 100;
/// How many characters all globs of a list have together.
const LONGEST_LIST: usize = 10_000;

/// A glob that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct GlobError {
    /// What was given.
    pub glob: String,
    /// What is wrong with it.
    pub reason: Reason,
}

display_as_reason!(GlobError);

impl AsReason for GlobError {
    fn reason(&self) -> Reason {
        let GlobError { glob, reason } = self;
        reason!("changed_files.glob", glob = quoted(glob), reason)
    }
}

/// Reads globs over paths from the root of the tree. `*` stays in its directory, `**` does not; one without a slash is
/// meant in every directory, and a directory stands for all that is in it.
///
/// # Errors
/// The first that can't be read.
pub fn compile(globs: &[String]) -> Result<GlobSet, GlobError> {
    let mut set = GlobSetBuilder::new();
    let all: usize = globs.iter().map(|glob| glob.chars().count()).sum();
    if globs.len() > MOST || all > LONGEST_LIST {
        let reason = reason!("globs.too_many", globs = globs.len(), all, most = MOST, longest = LONGEST_LIST);
        return Err(GlobError { glob: globs[0].chars().take(40).collect(), reason });
    }
    for glob in globs {
        let error = |reason: Reason| GlobError { glob: glob.chars().take(LONGEST).collect(), reason };
        if glob.chars().count() > LONGEST {
            return Err(error(reason!("globs.too_long", longest = LONGEST)));
        }
        let glob = as_meant(glob).map_err(&error)?;
        let from_root = glob.trim_start_matches('/');
        if from_root.is_empty() {
            return Err(error(reason!("changed_files.empty")));
        }
        let text = match (glob.trim_end_matches('/').contains('/'), from_root.strip_suffix('/')) {
            (false, None) => format!("**/{from_root}"),
            (false, Some(directory)) => format!("**/{directory}/**"),
            (true, None) => from_root.to_owned(),
            (true, Some(directory)) => format!("{directory}/**"),
        };
        // A last part without wildcards may be a directory.
        let last = text.rsplit('/').next().unwrap_or_default();
        let directory = (!last.contains(['*', '?', '[', '{'])).then(|| format!("{text}/**"));
        for text in std::iter::once(text).chain(directory) {
            let compiled = GlobBuilder::new(&text).literal_separator(true).build();
            set.add(compiled.map_err(|problem| error(Reason::verbatim(problem.kind().to_string())))?);
        }
    }
    set.build().map_err(|problem| GlobError { glob: globs.join(", "), reason: Reason::verbatim(problem.to_string()) })
}

/// A glob without `./` and doubled slashes. What could never match is refused, or a rule would never build again and
/// nobody knew why.
fn as_meant(glob: &str) -> Result<String, Reason> {
    if glob.starts_with('!') {
        return Err(reason!("globs.negated"));
    }
    if glob.starts_with('#') {
        return Err(reason!("globs.comment"));
    }
    let escapes = glob.split('\\').skip(1).any(|rest| rest.starts_with(|c: char| c.is_alphanumeric()));
    if escapes {
        return Err(reason!("globs.backslash"));
    }
    if glob != glob.trim() {
        return Err(reason!("globs.space"));
    }
    let (mut parts, mut rest) = (Vec::new(), glob.split('/').peekable());
    let first = rest.peek() == Some(&"");
    while let Some(part) = rest.next() {
        match part {
            ".." => return Err(reason!("globs.leaves")),
            "." | "" if rest.peek().is_some() => {}
            "." => parts.push("**"),
            part => parts.push(part),
        }
    }
    // Of the root alone, or of one in this directory, the slash says so.
    let from_root = first || glob.starts_with("./");
    Ok(format!("{}{}", if from_root { "/" } else { "" }, parts.join("/")))
}

/// The first changed file that `paths` (empty: any) match and `ignore_paths` don't; none: nothing of interest changed.
///
/// # Errors
/// When a glob can't be read.
pub fn of_interest<'a>(
    paths: &[String],
    ignore_paths: &[String],
    changed: &'a [String],
) -> Result<Option<&'a str>, GlobError> {
    let (wanted, ignored) = (compile(paths)?, compile(ignore_paths)?);
    let of_interest =
        |path: &&String| (paths.is_empty() || wanted.is_match(path.as_str())) && !ignored.is_match(path.as_str());
    Ok(changed.iter().find(of_interest).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_interest(paths: &[&str], ignore: &[&str], changed: &[&str]) -> Option<String> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        super::of_interest(&own(paths), &own(ignore), &own(changed)).unwrap().map(str::to_owned)
    }

    #[test]
    fn a_glob_is_meant_as_people_write_it() {
        assert!(of_interest(&["svc/api/**"], &[], &["svc/api/deep/x.go"]).is_some());
        assert!(of_interest(&["svc/api/"], &[], &["svc/api/deep/x.go"]).is_some());
        assert!(of_interest(&["svc/*"], &[], &["svc/api/x.go"]).is_none());
        assert!(of_interest(&["*.go"], &[], &["svc/api/x.go"]).is_some());
        assert!(of_interest(&["/*.go"], &[], &["svc/api/x.go"]).is_none());
        assert!(of_interest(&["svc/api"], &[], &["svc/api/deep/x.go"]).is_some());
        assert!(of_interest(&["svc/api"], &[], &["svc/apis/x.go"]).is_none());
        assert!(of_interest(&["docs"], &[], &["svc/docs/x"]).is_some());
        assert!(of_interest(&["vendor/"], &[], &["svc/vendor/x.go"]).is_some());
        assert!(of_interest(&["go.{mod,sum}"], &[], &["go.sum"]).is_some());
    }

    #[test]
    fn what_is_ignored_counts_as_not_changed() {
        assert_eq!(of_interest(&[], &["*.md", "docs/"], &["README.md", "docs/a/b.txt"]), None);
        assert_eq!(of_interest(&[], &["*.md"], &["README.md", "main.go"]).as_deref(), Some("main.go"));
        assert_eq!(of_interest(&["svc/"], &["*.md"], &["svc/README.md"]), None);
        assert_eq!(of_interest(&[], &[], &[]), None);
    }

    #[test]
    fn dots_and_doubled_slashes_are_taken_for_what_is_meant() {
        assert!(of_interest(&["./svc/api"], &[], &["svc/api/x.go"]).is_some());
        assert!(of_interest(&["svc//api/**"], &[], &["svc/api/x.go"]).is_some());
        assert!(of_interest(&["./*.go"], &[], &["svc/x.go"]).is_none());
        assert!(of_interest(&["."], &[], &["svc/api/x.go"]).is_some());
        assert!(of_interest(&["svc/."], &[], &["svc/api/x.go"]).is_some());
        for never in ["!docs/**", " svc", "../x", "svc/../x", "#svc", r"svc\api\**"] {
            assert!(compile(&[never.to_owned()]).is_err(), "{never:?}");
        }
        assert!(of_interest(&[r"a\*b"], &[], &["a*b"]).is_some() && of_interest(&["[#]a"], &[], &["#a"]).is_some());
    }

    #[test]
    fn globs_are_bounded_in_length_and_number() {
        let fails = |globs: &[String]| compile(globs).is_err();
        assert!(fails(&["a".repeat(LONGEST + 1)]) && !fails(&["a".repeat(LONGEST)]));
        assert!(fails(&vec!["a".to_owned(); MOST + 1]) && !fails(&vec!["a".to_owned(); MOST]));
        assert!(fails(&vec!["a".repeat(LONGEST); 11]));
        let error = compile(&["{".repeat(16_000)]).unwrap_err().to_string();
        assert!(error.len() < 2 * LONGEST, "an error does not repeat all of it");
    }

    #[test]
    fn a_wrong_glob_says_which() {
        assert!(compile(&["a[".to_owned()]).unwrap_err().to_string().contains("a["));
        assert!(compile(&["/".to_owned()]).is_err());
    }
}
