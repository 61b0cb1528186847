//! Webhooks in the forms that the platforms document: valid, forged, stale, cut short, and made of noise.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::domain::source_platform::PlatformKind;

const SECRET: &str = "It's a Secret to Everybody";

struct Sent(BTreeMap<String, String>);

impl Headers for Sent {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn sent(headers: &[(&str, &str)]) -> Sent {
    Sent(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn signed(parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

fn check(kind: PlatformKind, headers: &[(&str, &str)], body: &str) -> Result<Trust, HookError> {
    verify(kind, &sent(headers), body.as_bytes(), SECRET, now())
}

fn one(kind: PlatformKind, headers: &Sent, body: &str) -> (RemoteRepository, Vec<Pushed>) {
    match read(kind, headers, body.as_bytes()).unwrap() {
        Hook::Pushed { repository, pushed } => (repository, pushed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn githubs_own_example_is_believed_and_any_other_body_is_not() {
    let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("x-hub-signature-256", header)];
    assert_eq!(check(PlatformKind::Github, &headers, "Hello, World!"), Ok(Trust::Body));
    let forged = Err(HookError::Forged { header: "x-hub-signature-256" });
    assert_eq!(check(PlatformKind::Github, &headers, "Hello, World?"), forged);
    for odd in ["sha256=", "sha256=00", "odd"] {
        let checked = check(PlatformKind::Github, &[("x-hub-signature-256", odd)], "Hello, World!");
        assert!(matches!(checked, Err(HookError::IllFormed { .. })), "{odd}");
    }
    // The webhook has no secret on the platform's side.
    assert!(matches!(check(PlatformKind::Gitea, &[("x-gitea-signature", "")], "{}"), Err(HookError::Unsigned { .. })));
    assert!(matches!(check(PlatformKind::Github, &[], "Hello, World!"), Err(HookError::Unsigned { .. })));
}

#[test]
fn gitea_and_bitbucket_sign_the_body_in_headers_of_their_own() {
    let digest = hex::encode(signed(&["{}"]));
    for header in ["x-gitea-signature", "x-forgejo-signature"] {
        assert_eq!(check(PlatformKind::Gitea, &[(header, &digest)], "{}"), Ok(Trust::Body));
    }
    let digest = format!("sha256={digest}");
    assert_eq!(check(PlatformKind::Bitbucket, &[("x-hub-signature", &digest)], "{}"), Ok(Trust::Body));
    assert!(check(PlatformKind::Bitbucket, &[("x-hub-signature", &digest)], "{ }").is_err());
}

#[test]
fn a_token_says_who_sent_it_and_nothing_of_the_body() {
    for (kind, header) in [
        (PlatformKind::Gitlab, "x-gitlab-token"),
        (PlatformKind::Codeup, "x-codeup-token"),
        (PlatformKind::Gitee, "x-gitee-token"),
    ] {
        assert_eq!(check(kind, &[(header, SECRET)], "anything"), Ok(Trust::Sender));
        assert!(matches!(check(kind, &[(header, "another")], "anything"), Err(HookError::Forged { .. })));
        assert!(matches!(check(kind, &[], "anything"), Err(HookError::Unsigned { .. })));
    }
}

#[test]
fn gitlabs_signing_token_covers_the_body_for_five_minutes() {
    let with = |timestamp: &str, body: &str| {
        let signature = format!("v1,{}", STANDARD.encode(signed(&["msg_1", ".", timestamp, ".", "{}"])));
        let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", timestamp), ("webhook-signature", &signature)];
        check(PlatformKind::Gitlab, &headers, body)
    };
    assert_eq!(with("1700000000", "{}"), Ok(Trust::Body));
    assert!(matches!(with("1700000000", "{ }"), Err(HookError::Forged { .. })));
    assert!(matches!(with("1699990000", "{}"), Err(HookError::Stale { seconds: 10_000, limit: 300 })));
    assert!(matches!(with("no number", "{}"), Err(HookError::Stale { .. })));
}

#[test]
fn gitees_sign_holds_for_an_hour_and_may_be_url_encoded() {
    let with = |timestamp: &str| {
        let signature = STANDARD.encode(signed(&[timestamp, "\n", SECRET]));
        let encoded = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let plain = check(PlatformKind::Gitee, &[("x-gitee-timestamp", timestamp), ("x-gitee-token", &signature)], "");
        let other = check(PlatformKind::Gitee, &[("x-gitee-timestamp", timestamp), ("x-gitee-token", &encoded)], "");
        assert_eq!(plain, other);
        plain
    };
    assert_eq!(with("1700000000000"), Ok(Trust::Sender));
    assert!(matches!(with("1699990000000"), Err(HookError::Stale { .. })));
}

#[test]
fn platforms_without_webhooks_say_so() {
    for kind in PlatformKind::ALL.into_iter().filter(|kind| !kind.has_webhooks()) {
        assert!(matches!(check(kind, &[], ""), Err(HookError::NoWebhooks { .. })));
        assert!(matches!(read(kind, &sent(&[]), b""), Err(HookError::NoWebhooks { .. })));
    }
}

/// The samples of `tests/webhooks`: each with its kind, its name, its headers and its body.
fn samples() -> Vec<(PlatformKind, String, Sent, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhooks");
    let mut samples = Vec::new();
    for kind in PlatformKind::ALL.into_iter().filter(|kind| kind.has_webhooks()) {
        for entry in fs::read_dir(root.join(kind.word())).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let (head, body) = text.split_once("\n\n").unwrap();
            let headers = head.lines().map(|line| line.split_once(": ").unwrap());
            let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
            let name = format!("{}/{}", kind.word(), entry.file_name().to_str().unwrap());
            samples.push((kind, name, Sent(headers), body.to_owned()));
        }
    }
    samples
}

/// What is expected of a sample, as `expected.toml` says it.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    pushed: Vec<String>,
    message: Option<String>,
    outcome: Option<String>,
}

fn in_short(pushed: &Pushed) -> String {
    let side = |side: &Side, absent: &str| match side {
        Side::Commit(commit) => commit.short(7).to_owned(),
        Side::Absent => absent.to_owned(),
        Side::Unsaid => "?".to_owned(),
    };
    format!("{} {}..{}", pushed.reference, side(&pushed.before, "new"), side(&pushed.after, "gone"))
}

#[test]
fn the_samples_of_all_platforms_are_read_as_expected() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhooks/expected.toml")).unwrap();
    let mut expected: BTreeMap<String, Expected> = toml::from_str(&text).unwrap();
    for (kind, name, headers, body) in samples() {
        let expected = expected.remove(&name).unwrap_or_else(|| panic!("{name} is not in expected.toml"));
        let outcome = |outcome: &str| Expected { outcome: Some(outcome.into()), ..Expected::default() };
        let found = match read(kind, &headers, body.as_bytes()) {
            Ok(Hook::Ping) => outcome("ping"),
            Ok(Hook::Other(_)) => outcome("other"),
            Err(HookError::UnknownPush { .. }) => outcome("refused"),
            Ok(Hook::Pushed { pushed, .. }) => Expected {
                pushed: pushed.iter().map(in_short).collect(),
                message: pushed[0].message.clone().filter(|_| expected.message.is_some()),
                outcome: None,
            },
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(found, expected, "{name}");
    }
    assert!(expected.is_empty(), "there are no such samples: {expected:?}");
}

/// All JSON pointers of a value, its own left out.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => return,
    };
    for (key, value) in children {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, all);
        all.push(pointer);
    }
}

/// The value without, or with something else, at a pointer.
fn mutated(value: &Value, pointer: &str, with: Option<&Value>) -> Value {
    let mut value = value.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match (value.pointer_mut(parent).unwrap(), with) {
        (Value::Object(map), Some(with)) => _ = map.insert(key.into(), with.clone()),
        (Value::Object(map), None) => _ = map.remove(key),
        (Value::Array(list), Some(with)) => list[key.parse::<usize>().unwrap()] = with.clone(),
        (Value::Array(list), None) => _ = list.remove(key.parse().unwrap()),
        _ => unreachable!(),
    }
    value
}

/// Every field of every sample is taken away, is null, and has each other type. None of it makes the reader panic or
/// lose another ref, and only a push without its ref, or without anything that names its repository, is refused.
#[test]
fn a_field_that_is_odd_loses_itself_alone() {
    let odd = [json!(null), json!(7), json!(-1.5), json!(true), json!("odd"), json!([null, 7]), json!({ "odd": {} })];
    for (kind, name, headers, body) in samples() {
        let whole: Value = serde_json::from_str(&body).unwrap();
        let Ok(Hook::Pushed { pushed: expected, repository }) = read(kind, &headers, body.as_bytes()) else { continue };
        let lists = ["/push/changes", "/changes"];
        let list = lists
            .into_iter()
            .find(|list| whole.pointer(list).and_then(Value::as_array).is_some_and(|list| !list.is_empty()));
        let mut all = Vec::new();
        pointers(&whole, "", &mut all);
        for pointer in all {
            for with in odd.iter().map(Some).chain([None]) {
                let text = mutated(&whole, &pointer, with).to_string();
                let what = format!("{name}: {pointer} = {with:?}");
                let (found, names) = match read(kind, &headers, text.as_bytes()) {
                    Ok(Hook::Pushed { pushed, repository }) => (pushed, repository),
                    Ok(Hook::Other(_)) => {
                        assert!(["/ref", "/event_name"].contains(&pointer.as_str()), "{what}");
                        continue;
                    }
                    Err(error) => {
                        let needed = ["/ref", "/event_name", "/repository"];
                        assert!(needed.contains(&pointer.as_str()), "{what}: {error}");
                        continue;
                    }
                    Ok(Hook::Ping) => panic!("{what}"),
                };
                let about_names = pointer.starts_with("/repository") || pointer.starts_with("/project");
                assert!(about_names || names == repository, "{what}: {names:?}");
                for (index, push) in expected.iter().enumerate() {
                    // Of a push with a list of refs, the entry of the ref itself, or the whole list.
                    let own = match list {
                        Some(list) => {
                            let whole = list == pointer || list.starts_with(&format!("{pointer}/"));
                            whole || index_in(&pointer, list).is_some_and(|entry| is_of(&name, entry, index))
                        }
                        None => !about_names || pointer == "/repository/pushed_at",
                    };
                    let kept = found.iter().any(|found| found.reference == push.reference && found.after == push.after);
                    assert!(own || kept, "{what} lost {}: {found:?}", push.reference);
                    let there = found.iter().any(|found| found.reference == push.reference);
                    assert!(list.is_some() || there, "{what} lost {}: {found:?}", push.reference);
                }
            }
        }
    }
}

/// The entry of a list that a pointer leads into.
fn index_in(pointer: &str, list: &str) -> Option<usize> {
    pointer.strip_prefix(list)?.strip_prefix('/')?.split('/').next()?.parse().ok()
}

/// Whether the entry of a sample's list is that of its ref: in one sample an entry that is left out stands between
/// them.
fn is_of(name: &str, entry: usize, index: usize) -> bool {
    let of_ref = if name.ends_with("/several-refs.http") && index == 2 { 3 } else { index };
    entry == of_ref
}

#[test]
fn a_form_is_read_whatever_the_case_of_its_content_type() {
    let (_, _, Sent(mut headers), body) =
        samples().into_iter().find(|(_, name, ..)| name == "github/push.http").unwrap();
    let as_json = one(PlatformKind::Github, &Sent(headers.clone()), &body);
    assert_eq!(as_json.1[0].at, DateTime::from_timestamp(1_557_933_657, 0));
    assert_eq!(as_json.0.id.as_deref(), Some("186853002"));
    let mut form = reqwest::Url::parse("form:").unwrap();
    form.query_pairs_mut().append_pair("payload", &body);
    headers.insert("content-type".into(), "Application/X-WWW-Form-URLEncoded ; charset=UTF-8".into());
    assert_eq!(one(PlatformKind::Github, &Sent(headers), form.query().unwrap()), as_json);
}

#[test]
fn a_request_without_an_event_is_of_another_platform() {
    for kind in PlatformKind::ALL.into_iter().filter(|kind| kind.has_webhooks()) {
        for headers in [sent(&[]), sent(&[("x-github-event", " "), ("x-gitlab-event", ""), ("x-event-key", "")])] {
            assert!(matches!(read(kind, &headers, b"{}"), Err(HookError::NoEvent { .. })), "{kind:?}");
        }
    }
}

#[test]
fn what_is_no_push_is_told_apart_from_what_is_broken() {
    let github =
        |event: &str, body: &str| read(PlatformKind::Github, &sent(&[("x-github-event", event)]), body.as_bytes());
    assert_eq!(github("ping", "{}"), Ok(Hook::Ping));
    assert!(matches!(github("issues", "{}"), Ok(Hook::Other(_))));
    assert!(matches!(github("push", r#"{"ref":"refs/notes/x"}"#), Ok(Hook::Other(_))));
    assert!(matches!(github("push", r#"{"ref":"refs/heads/main","aft"#), Err(HookError::Malformed { .. })));
    assert!(matches!(github("push", r#"{"ref":"refs/heads/main","after":"a"}"#), Err(HookError::Malformed { .. })));
    // A commit that is none is asked of the source.
    let odd = r#"{"ref":"refs/heads/main","after":"--upload-pack","repository":{"full_name":"acme/api"}}"#;
    let Ok(Hook::Pushed { pushed, .. }) = github("push", odd) else { panic!("it names a ref and a repository") };
    assert_eq!(in_short(&pushed[0]), "refs/heads/main ?..?");
}

proptest! {
    #[test]
    fn no_body_and_no_header_makes_a_reader_panic(
        kind in prop::sample::select(PlatformKind::ALL.to_vec()),
        event in "(push|ping|Push Hook|repo:push|\\PC{0,12})",
        token in "\\PC{0,80}",
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            "\\{\"ref\":\"\\PC{0,20}\",\"after\":\"[0-9a-f]{0,64}\",\"repository\":\\{\"pushed_at\":-?[0-9]{1,30}\\}\\}".prop_map(String::into_bytes),
            "\\{\"push\":\\{\"changes\":\\[\\{\"new\":\\{\"type\":\"branch\",\"name\":\"\\PC{0,9}\",\"target\":\\{\"hash\":\"[0-9a-g]{0,41}\"\\}\\}\\}\\]\\},\"repository\":\\{\"links\":\\{\"html\":\\{\"href\":\"\"\\}\\}\\}\\}".prop_map(String::into_bytes),
        ],
    ) {
        let names = ["x-github-event", "x-gitlab-event", "x-gitee-event", "x-codeup-event", "x-gitea-event", "x-event-key"];
        let tokens = ["x-hub-signature-256", "x-hub-signature", "x-gitlab-token", "x-gitee-token", "x-gitee-timestamp",
            "x-codeup-token", "webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (*name, event.as_str()))
            .chain(tokens.iter().map(|name| (*name, token.as_str()))).collect();
        let headers = sent(&headers);
        let _ = read(kind, &headers, &body);
        prop_assert!(verify(kind, &headers, &body, SECRET, now()).is_err(), "nobody guesses the secret");
    }
}
