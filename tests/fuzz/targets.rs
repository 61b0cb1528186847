//! What is fuzzed, and what must be so whatever the input.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use chrono::DateTime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway::buildctl::job::{Job, RunResult};
use slipway::buildctl::progress::{Numbers, Parser, Sink, Stream};
use slipway::buildctl::subrequest;
use slipway::domain::build::Build;
use slipway::domain::builder::Builder;
use slipway::domain::config::{Config, RegistrySettings};
use slipway::domain::failure::{Exit, classify};
use slipway::domain::journal::PushRecord;
use slipway::domain::namespace::Namespace;
use slipway::domain::outbox::Message;
use slipway::domain::outline::Outline;
use slipway::domain::repository::Repository;
use slipway::domain::source_platform::{PlatformKind, SourcePlatform};
use slipway::domain::step::StepsFile;
use slipway::log::follow::Lines;
use slipway::log::mask::Mask;
use slipway::log::sanitize::{self, Sanitizer};
use slipway::registry::image::{Document, ImageConfig, Part, compose, describe};
use slipway::source::webhook::{self, Headers};
use slipway::store::read;

use crate::mutate::Sample;
use crate::random::Random;

/// Code that reads what others wrote.
pub struct Target {
    pub name: &'static str,
    /// Valid inputs.
    pub samples: fn() -> Vec<Sample>,
    /// Words that mean something to the code.
    pub tokens: &'static [&'static str],
    /// Panics where something is wrong.
    pub run: fn(&[u8], &mut Random),
}

pub const TARGETS: [Target; 6] = [
    Target {
        name: "webhook",
        samples: || files("tests/fuzz/seeds/webhook", ""),
        tokens: &[
            "refs/heads/",
            "refs/tags/",
            "0000000000000000000000000000000000000000",
            "null",
            "payload=",
            "%7B",
            "\"ref\":",
            "https://",
        ],
        run: read_webhook,
    },
    Target {
        name: "progress",
        samples: || files("tests/recordings", "jsonl"),
        tokens: &[
            "{\"vertexes\":[",
            "\"logs\":[",
            "\"data\":\"aHVudGVyMmh1bnRlcjI=\"",
            "hunter2hunter2",
            "\"error\":\"",
            "\n",
            "Z\"",
            "\"completed\":null",
        ],
        run: read_progress,
    },
    Target {
        name: "toml",
        samples: || files("tests/fuzz/seeds/toml", "toml"),
        tokens: &[
            "[[rule]]",
            "\"\"\"",
            "'''",
            " = ",
            "\u{9b}",
            "\u{202e}",
            "\\u0000",
            "{ regex = '(' }",
            "schema = 9",
            "99999999999TB",
            "[a.b]",
        ],
        run: read_toml,
    },
    Target {
        name: "oci",
        samples: || files("tests/fuzz/seeds/oci", "json"),
        tokens: &[
            "sha256:",
            "\"size\":18446744073709551615",
            "\"manifests\":",
            "application/vnd.oci.image.index.v1+json",
            "\"platform\":null",
            "0000-00-00T00:00:00Z",
        ],
        run: read_oci,
    },
    Target {
        name: "sanitize",
        samples: || {
            [
                files("tests/recordings", "log"),
                vec!["a\x1b[1;31mb\x1b]0;t\x07\u{9b}2J\r50%\x08\u{202e}👩\u{200d}🚀\n".into()],
            ]
            .concat()
        },
        tokens: &[
            "\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b\\", "\u{9b}", "\u{9d}", "\u{9c}", "\u{90}", "\x07", "\x18", "\r",
            "\x08", "m", "38;2;", "48:5:", "\u{202e}", "\u{200b}", "\u{200d}", "\u{fe0f}", "👩", "\u{c2}", "#5 0.1 ",
        ],
        run: clean,
    },
    Target {
        name: "outline",
        samples: || files("tests/fuzz/seeds/outline", "txt"),
        tokens: &[
            "TARGET",
            "BUILD ARG",
            "VALUE",
            "DESCRIPTION",
            "WARNING: ",
            " - ",
            "Dockerfile:",
            "(default)",
            "error: ",
            "exit code: ",
            "世",
        ],
        run: read_answer,
    },
];

/// The files of a directory, or those of an extension.
fn files(directory: &str, extension: &str) -> Vec<Sample> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted =
        |path: &&std::path::PathBuf| extension.is_empty() || path.extension().is_some_and(|found| found == extension);
    paths.iter().filter(wanted).map(|path| fs::read(path).unwrap()).collect()
}

struct Given(Vec<(&'static str, String)>);

impl Headers for Given {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// No webhook makes the reader panic, and none is believed without the secret.
fn read_webhook(body: &[u8], random: &mut Random) {
    const HEADERS: [(&str, &[&str]); 18] = [
        ("x-github-event", &["push", "ping", "create", ""]),
        ("x-forgejo-event", &["push", "create"]),
        ("x-gitea-event", &["push"]),
        ("x-gitlab-event", &["Push Hook", "Tag Push Hook", "System Hook"]),
        ("codeup-event", &["Push Hook", "Tag Push Hook"]),
        ("x-gitee-event", &["Push Hook"]),
        ("x-event-key", &["repo:push", "repo:refs_changed", "diagnostics:ping"]),
        ("content-type", &["application/json", "application/x-www-form-urlencoded"]),
        ("x-hub-signature-256", &["sha256=", "sha256=00ff", "x"]),
        ("x-hub-signature", &["sha256=", "sha256=00ff"]),
        ("x-gitea-signature", &["", "00ff"]),
        ("x-gitlab-token", &["", "wrong"]),
        ("x-codeup-token", &["", "wrong"]),
        ("webhook-id", &["", "1"]),
        ("x-gitee-token", &["", "wrong"]),
        ("x-gitee-timestamp", &["0", "-1", "9223372036854775807", "1700000000000"]),
        ("webhook-timestamp", &["0", "18446744073709551615", "1700000000"]),
        ("webhook-signature", &["v1,", "v1,AAAA v1,", "v2,x"]),
    ];
    let mut given = Vec::new();
    for (name, values) in HEADERS {
        if random.below(3) > 0 {
            given.push((name, (*random.pick(values)).to_owned()));
        }
    }
    let headers = Given(given);
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    for kind in PlatformKind::ALL {
        let _ = webhook::read(kind, &headers, body);
        assert!(webhook::verify(kind, &headers, body, "the secret that nobody has", now).is_err(), "{kind:?}");
    }
}

#[derive(Default, PartialEq, Debug)]
struct Log(Vec<u8>);

impl Sink for Log {
    fn line(&mut self, _: Stream, prefix: &[u8], text: &[u8]) -> std::io::Result<()> {
        self.0.extend_from_slice(prefix);
        self.0.extend_from_slice(text);
        self.0.push(b'\n');
        Ok(())
    }
}

/// The stream of a builder, cut anywhere, makes the same log and steps; a secret is in none of them; the failure can be
/// told.
fn read_progress(stream: &[u8], random: &mut Random) {
    const SECRET: &str = "hunter2hunter2";
    let read = |sizes: &[usize]| {
        let mut parser = Parser::new(0, Numbers::default()).masking(Mask::new([SECRET]));
        let mut log = Log::default();
        let mut rest = stream;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            parser.push(piece, &mut log).unwrap();
            rest = more;
        }
        parser.finish(&mut log).unwrap();
        (parser, log)
    };
    let (whole, log) = read(&[usize::MAX]);
    let sizes: Vec<usize> = (0..4).map(|_| 1 + random.below(2000)).collect();
    let (cut, log_of_cut) = read(&sizes);
    assert_eq!(whole.steps(), cut.steps());
    assert!(log == log_of_cut);
    let steps = whole.steps();
    assert!(steps.iter().all(|step| step.state.is_final() || step.started.is_none()));
    let text = format!("{} {steps:?} {:?} {}", String::from_utf8_lossy(&log.0), whole.warnings(), whole.text_after());
    assert!(!text.contains(SECRET));
    let failure = classify(whole.text_after(), &steps, Exit::Code(1));
    assert!(failure.reason.to_string().chars().count() < 1_000);
}

/// A record that can be read can be written and read again; what is wrong with another is told without controls.
fn read_toml(bytes: &[u8], _: &mut Random) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    record::<Config>(text);
    record::<Namespace>(text);
    record::<Repository>(text);
    record::<Builder>(text);
    record::<SourcePlatform>(text);
    record::<RegistrySettings>(text);
    record::<Build>(text);
    record::<Job>(text);
    record::<RunResult>(text);
    record::<StepsFile>(text);
    record::<PushRecord>(text);
    record::<Message>(text);
}

fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    match read::parse::<T>(Path::new("record.toml"), text) {
        Ok(value) => {
            let written = toml::to_string(&value).unwrap_or_else(|error| panic!("{error} in {value:?}"));
            match read::parse::<T>(Path::new("record.toml"), &written) {
                // A number that is no number is not equal to itself.
                Ok(again) => assert!(again == value || written.contains("nan"), "{value:?} {again:?}"),
                Err(error) => panic!("{error} in {written}"),
            }
        }
        Err(error) => {
            let excerpt = error.excerpt();
            assert!(!excerpt.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{excerpt:?}");
        }
    }
}

/// A registry's documents are read, described and put together.
fn read_oci(bytes: &[u8], _: &mut Random) {
    let config: Option<ImageConfig> = serde_json::from_slice(bytes).ok();
    let Ok(document) = Document::parse(bytes) else { return };
    let documents = [document.clone(), document.clone()];
    let info = describe("sha256:0", &document, &documents, config.as_ref());
    assert!(info.platforms.len() <= document.children().count() + 1);
    for child in document.children() {
        let _ = (child.is_document(), child.is_index(), child.is_attestation());
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    let part = |digest, document| Part { digest, size: 1, document, platform: info.platforms.first().cloned() };
    if let Ok(index) = compose(&[part(digest.clone(), document.clone()), part(digest, document)], &info.annotations) {
        let raw = serde_json::to_vec(&index).unwrap();
        assert_eq!(Document::parse(&raw).unwrap(), index);
    }
}

/// Whether a character steers a terminal or hides. Told apart from the filter by the last code point only where it is
/// an emoji's.
fn is_bad(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whatever is filtered is clean, stays as it is when it is filtered again, and does not depend on how it was cut.
fn clean(bytes: &[u8], random: &mut Random) {
    let filtered = |bytes: &[u8], sizes: &[usize]| {
        let (mut lines, mut sanitizer, mut out) = (Lines::default(), Sanitizer::default(), Vec::new());
        let mut take = |line: &[u8]| -> Result<(), ()> {
            out.extend_from_slice(sanitizer.line(line));
            out.push(b'\n');
            Ok(())
        };
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            lines.push(piece, &mut take).unwrap();
            rest = more;
        }
        lines.finish(&mut take).unwrap();
        out
    };
    let whole = filtered(bytes, &[usize::MAX]);
    let sizes: Vec<usize> = (0..3).map(|_| 1 + random.below(300)).collect();
    assert!(filtered(bytes, &sizes) == whole);
    assert!(filtered(&whole, &sizes) == whole);
    let log = String::from_utf8(whole).unwrap();
    let mut rest = log.as_str();
    while let Some(at) = rest.find(|c: char| is_bad(c)) {
        let sequence = rest[at..].strip_prefix("\x1b[").and_then(|sequence| sequence.split_once('m'));
        let (parameters, more) = sequence.unwrap_or_else(|| panic!("{:?}", &rest[at..]));
        assert!(parameters.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "{parameters:?}");
        assert!(parameters.split(';').next() != Some("8"));
        rest = more;
    }
    let text = String::from_utf8_lossy(bytes);
    let (line, lines, escaped) =
        (sanitize::printable(&text), sanitize::printable_lines(&text), sanitize::escaped(&text));
    assert!(!line.contains(|c: char| is_bad(c) || matches!(c, '\n' | '\t')), "{line:?}");
    assert!(!lines.contains(is_bad), "{lines:?}");
    assert!(!escaped.contains(|c: char| is_bad(c) || c == '\n'), "{escaped:?}");
    assert_eq!(sanitize::printable(&line), line);
    assert_eq!(sanitize::printable_lines(&lines), lines);
}

/// What a frontend answers to its questions.
fn read_answer(bytes: &[u8], _: &mut Random) {
    let text = String::from_utf8_lossy(bytes);
    let mut outline = Outline::default();
    for question in subrequest::ALL {
        question.read(&text, &mut outline);
    }
    for exit in [Exit::Code(1), Exit::Code(137), Exit::Signal(9)] {
        assert!(classify(&text, &[], exit).reason.to_string().chars().count() < 1_000);
    }
}
