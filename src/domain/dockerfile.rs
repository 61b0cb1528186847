//! What the text of a Dockerfile says before anything of it runs: the frontend that it names, the secrets and keys that
//! it mounts.
//!
//! [`syntax`] decides which frontend BuildKit would run, so it follows BuildKit's `parser.DetectSyntax` (frontend/dockerfile/parser,
//! v0.34), and refuses where it can't be sure to read as BuildKit does.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// The frontend that a Dockerfile names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syntax {
    /// The image, as the file has it.
    pub reference: String,
    /// The line, from 1.
    pub line: u32,
}

/// A Dockerfile in JSON that this slipway can't read with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct UnreadableSyntax;

display_as_reason!(UnreadableSyntax);

impl AsReason for UnreadableSyntax {
    fn reason(&self) -> Reason {
        reason!("dockerfile.unreadable_syntax")
    }
}

/// The directives that may stand before and after `syntax`.
const DIRECTIVES: [&str; 3] = ["syntax", "escape", "check"];

/// The frontend that a Dockerfile names: `# syntax=`, `// syntax=` or `{"syntax": …}`, after a byte order mark and a
/// `#!` line.
///
/// # Errors
/// When the file begins like JSON and does not parse: BuildKit's parser takes more than this one.
pub fn syntax(text: &[u8]) -> Result<Option<Syntax>, UnreadableSyntax> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let (text, first) = match text.split(|b| *b == b'\n').next() {
        Some(line) if line.starts_with(b"#!") => (text.get(line.len() + 1..).unwrap_or_default(), 2),
        _ => (text, 1),
    };
    for comment in ["#", "//"] {
        if let Some((reference, line)) = directive(text, comment) {
            return Ok(Some(Syntax { reference, line: first + line }));
        }
    }
    if text.iter().find(|b| !b" \t\r\n".contains(b)) != Some(&b'{') {
        return Ok(None);
    }
    let document: serde_json::Value = serde_json::from_slice(text).map_err(|_| UnreadableSyntax)?;
    let named = document.get("syntax").and_then(serde_json::Value::as_str);
    Ok(named.map(|reference| Syntax { reference: reference.to_owned(), line: first }))
}

/// The value of the `syntax` directive, up to a space, and its line from 0.
fn directive(text: &[u8], comment: &str) -> Option<(String, u32)> {
    static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\A([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\z")
            .expect("a pattern in the source code")
    });
    for (number, line) in (0..).zip(text.split(|b| *b == b'\n')) {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        // The first line that is no directive ends them.
        let found = DIRECTIVE.captures(line.strip_prefix(comment)?.trim_start())?;
        let name = found[1].to_ascii_lowercase();
        if !DIRECTIVES.contains(&name.as_str()) {
            return None;
        }
        if name == "syntax" {
            return Some((found[2].split(' ').next().unwrap_or_default().to_owned(), number));
        }
    }
    None
}

/// What the commands of a Dockerfile mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounts {
    /// The ids of secrets.
    pub secrets: BTreeSet<String>,
    /// Whether a command mounts an ssh agent.
    pub ssh: bool,
}

/// The secrets and keys that `RUN --mount` asks for, to the extent that they stand there without variables.
pub fn mounts(text: &str) -> Mounts {
    static MOUNT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"--mount=(\S+)").expect("a pattern in the source code"));
    let mut mounts = Mounts::default();
    let commands = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    for found in commands.flat_map(|line| MOUNT.captures_iter(line)) {
        let fields: Vec<(&str, &str)> =
            found[1].split(',').map(|field| field.split_once('=').unwrap_or((field, ""))).collect();
        let field = |wanted: &[&str]| fields.iter().find(|(key, _)| wanted.contains(key)).map(|(_, value)| *value);
        match field(&["type"]) {
            Some("ssh") => mounts.ssh = true,
            Some("secret") => {
                let target = field(&["target", "dst", "destination"]);
                let id =
                    field(&["id"]).or_else(|| target.and_then(|target| target.rsplit('/').next())).or(field(&["env"]));
                mounts.secrets.extend(id.filter(|id| !id.is_empty() && !id.contains('$')).map(str::to_owned));
            }
            _ => {}
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, u32)> {
        syntax(text.as_bytes()).unwrap().map(|syntax| (syntax.reference, syntax.line))
    }

    #[test]
    fn the_frontend_is_found_wherever_buildkit_would_find_it() {
        let named = |text: &str| read(text).map(|(reference, _)| reference);
        for text in [
            "# syntax=evil/fe",
            "#syntax=evil/fe\nFROM scratch\n",
            "#  SYNTAX  =  evil/fe  \r\nFROM scratch\n",
            "\u{feff}# syntax=evil/fe\n",
            "#!/usr/bin/env docker\n# syntax=evil/fe\n",
            "\u{feff}#!/x\n# syntax=evil/fe\n",
            "# escape=`\n# check=skip=all\n# syntax=evil/fe\n",
            "// syntax=evil/fe\n",
            "#!/x\n// check=skip=all\n// syntax = evil/fe\n",
            "{\"syntax\": \"evil/fe\"}",
            "  \n{\"a\": 1, \"synt\\u0061x\": \"evil/fe\"}\n",
            "#\u{a0}syntax=evil/fe\n",
            "# syntax=evil/fe --flag value\n",
            "# syntax=evil/fe\n# syntax=docker/dockerfile\n",
        ] {
            assert_eq!(named(text).as_deref(), Some("evil/fe"), "{text:?}");
        }
    }

    #[test]
    fn what_buildkit_takes_for_a_comment_names_no_frontend() {
        for text in [
            "",
            "FROM scratch\n# syntax=evil/fe\n",
            "\n# syntax=evil/fe\n",
            "# a comment\n# syntax=evil/fe\n",
            "# version=1\n# syntax=evil/fe\n",
            "# syntax\n",
            "# syntax=\n",
            " # syntax=evil/fe\n",
            "{\"a\": {\"syntax\": \"evil/fe\"}}",
            "{\"syntax\": 1}",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_line_of_the_directive_is_told() {
        assert_eq!(read("# syntax=a\n").unwrap().1, 1);
        assert_eq!(read("#!/x\n# escape=`\n# syntax=a\n").unwrap().1, 3);
    }

    #[test]
    fn json_that_only_gos_parser_takes_is_refused() {
        let deep = format!("{{\"x\": {}{}, \"syntax\": \"evil/fe\"}}", "[".repeat(200), "]".repeat(200));
        for text in
            [deep.as_bytes(), b"{\"x\": \"\xff\", \"syntax\": \"evil/fe\"}", br#"{"x": "\ud800", "syntax": "evil/fe"}"#]
        {
            assert_eq!(syntax(text), Err(UnreadableSyntax));
        }
    }

    #[test]
    fn mounted_secrets_are_listed_by_the_id_that_buildkit_asks_for() {
        let text = "FROM x\n# RUN --mount=type=secret,id=comment x\nRUN --mount=type=secret,id=npm,target=/r cat /r\n\
            RUN --mount=target=/run/secrets/pip,type=secret --mount=type=ssh \\\n  --mount=type=secret,id=a,required=true x\n\
            RUN --mount=type=cache,target=/c --mount=type=secret,id=$X --mount=type=secret,env=TOKEN x\n";
        let found = mounts(text);
        assert_eq!(found.secrets, ["TOKEN", "a", "npm", "pip"].map(str::to_owned).into());
        assert!(found.ssh);
        assert_eq!(mounts("FROM x\nRUN echo\n"), Mounts::default());
    }
}
