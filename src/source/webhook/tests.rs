//! Webhooks in the forms that the platforms document: valid, forged, stale, cut short, and made of noise.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::domain::push::Ref;
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

fn one(kind: PlatformKind, headers: &[(&str, &str)], body: &str) -> (Vec<String>, Vec<Pushed>) {
    match read(kind, &sent(headers), body.as_bytes()).unwrap() {
        Hook::Pushed { urls, pushed } => (urls, pushed),
        other => panic!("{other:?}"),
    }
}

fn id(digit: char) -> String {
    digit.to_string().repeat(40)
}

#[test]
fn githubs_own_example_is_believed_and_any_other_body_is_not() {
    let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("x-hub-signature-256", header)];
    assert_eq!(check(PlatformKind::Github, &headers, "Hello, World!"), Ok(Trust::Body));
    let forged = Err(HookError::Forged { header: "x-hub-signature-256" });
    assert_eq!(check(PlatformKind::Github, &headers, "Hello, World?"), forged);
    assert_eq!(check(PlatformKind::Github, &[("x-hub-signature-256", "sha256=")], "Hello, World!"), forged);
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

#[test]
fn a_push_of_github_has_its_ref_its_commits_and_its_time() {
    let body = serde_json::json!({
        "ref": "refs/heads/main", "before": id('a'), "after": id('b'), "created": false, "deleted": false,
        "repository": { "clone_url": "https://github.example/acme/api.git", "ssh_url": "git@github.example:acme/api.git",
            "url": "https://github.example/acme/api", "pushed_at": 1_700_000_001 },
        "head_commit": { "id": id('b'), "message": "news" },
    })
    .to_string();
    let (urls, pushed) = one(PlatformKind::Github, &[("x-github-event", "push")], &body);
    assert!(urls.contains(&"https://github.example/acme/api.git".to_owned()), "{urls:?}");
    let expected = Pushed {
        reference: Ref::branch("main"),
        before: Some(id('a').parse().unwrap()),
        commit: id('b').parse().unwrap(),
        at: DateTime::from_timestamp(1_700_000_001, 0),
        message: Some("news".into()),
    };
    assert_eq!(pushed.first(), Some(&expected));
    // GitHub's other way of sending it.
    let mut form = reqwest::Url::parse("form:").unwrap();
    form.query_pairs_mut().append_pair("payload", &body);
    let headers = [("x-github-event", "push"), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(one(PlatformKind::Github, &headers, form.query().unwrap()).1, [expected]);
}

#[test]
fn deleted_refs_are_no_pushes_and_new_ones_have_nothing_before() {
    let push = |before: char, after: char| {
        let body = serde_json::json!({ "ref": "refs/tags/v1", "before": id(before), "after": id(after), "checkout_sha": null,
            "project": { "git_http_url": "https://gitlab.example/acme/api.git" } });
        one(PlatformKind::Gitlab, &[("x-gitlab-event", "Tag Push Hook")], &body.to_string()).1
    };
    assert_eq!(push('a', '0'), []);
    assert_eq!(push('0', 'b')[0].before, None);
}

#[test]
fn the_commit_of_gitlabs_tags_is_what_is_checked_out() {
    let body = serde_json::json!({ "ref": "refs/tags/v1", "before": id('0'), "after": id('a'), "checkout_sha": id('b'),
            "commits": [{ "id": id('c'), "message": "older" }, { "id": id('b'), "message": "news\n" }] });
    for (kind, header) in [
        (PlatformKind::Gitlab, "x-gitlab-event"),
        (PlatformKind::Codeup, "codeup-event"),
        (PlatformKind::Gitee, "x-gitee-event"),
    ] {
        let (_, pushed) = one(kind, &[(header, "Tag Push Hook")], &body.to_string());
        assert_eq!(pushed[0].commit.as_str(), id('b'));
        assert_eq!(pushed[0].message.as_deref(), Some("news\n"));
    }
}

#[test]
fn a_push_of_bitbucket_has_several_refs() {
    let change = |old: Option<(&str, &str, char)>, new: Option<(&str, &str, char)>| {
        let side = |side: Option<(&str, &str, char)>| {
            side.map(|(kind, name, digit)| {
                serde_json::json!({ "type": kind, "name": name, "target": { "hash": id(digit), "message": "news" } })
            })
        };
        serde_json::json!({ "old": side(old), "new": side(new) })
    };
    let body = serde_json::json!({
        "push": { "changes": [
            change(Some(("branch", "main", 'a')), Some(("branch", "main", 'b'))),
            change(None, Some(("annotated_tag", "v1", 'b'))),
            change(Some(("branch", "gone", 'a')), None),
        ] },
        "repository": { "links": { "html": { "href": "https://bitbucket.example/acme/api" } } },
    });
    let (urls, pushed) = one(PlatformKind::Bitbucket, &[("x-event-key", "repo:push")], &body.to_string());
    assert_eq!(urls, ["https://bitbucket.example/acme/api"]);
    let refs: Vec<String> = pushed.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(refs, ["refs/heads/main", "refs/tags/v1"]);
    assert_eq!(pushed[0].message.as_deref(), Some("news"));
}

#[test]
fn what_is_no_push_is_told_apart_from_what_is_broken() {
    let github =
        |event: &str, body: &str| read(PlatformKind::Github, &sent(&[("x-github-event", event)]), body.as_bytes());
    assert_eq!(github("ping", "{}"), Ok(Hook::Ping));
    assert!(matches!(github("issues", "{}"), Ok(Hook::Other(_))));
    assert!(matches!(github("push", r#"{"ref":"refs/notes/x"}"#), Ok(Hook::Other(_))));
    assert!(matches!(github("push", r#"{"ref":"refs/heads/main","aft"#), Err(HookError::Malformed { .. })));
    assert!(matches!(
        github("push", r#"{"ref":"refs/heads/main","after":"--upload-pack"}"#),
        Err(HookError::Malformed { .. })
    ));
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
        let names = ["x-github-event", "x-gitlab-event", "x-gitee-event", "codeup-event", "x-gitea-event", "x-event-key"];
        let tokens = ["x-hub-signature-256", "x-hub-signature", "x-gitlab-token", "x-gitee-token", "x-gitee-timestamp",
            "x-codeup-token", "webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (*name, event.as_str()))
            .chain(tokens.iter().map(|name| (*name, token.as_str()))).collect();
        let headers = sent(&headers);
        let _ = read(kind, &headers, &body);
        prop_assert!(verify(kind, &headers, &body, SECRET, now()).is_err(), "nobody guesses the secret");
    }
}
