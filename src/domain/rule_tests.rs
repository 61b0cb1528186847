use super::*;
use crate::domain::version::{CommitDigits, TimeFormat};

const COMMIT: &str = "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa";

fn push(reference: &str) -> Push {
    // 16:25 in UTC+8, as in the seed's second example.
    Push {
        reference: reference.parse().unwrap(),
        commit: COMMIT.parse().unwrap(),
        at: "2020-10-15T08:25:00Z".parse().unwrap(),
    }
}

fn release() -> Rule {
    Rule {
        branch: Some(Pattern::Regex(r"release-(?<imageTag>\w*)".into())),
        versions: vec![Version {
            time: Some(TimeFormat::Minute),
            commit: CommitDigits::new(30),
            ..Version::named("${imageTag}")
        }],
        ..Rule::starter("main")
    }
}

fn tags(rule: &Rule, reference: &str) -> Option<Vec<String>> {
    let tags = rule.tags(&push(reference)).unwrap()?;
    Some(tags.tags.iter().map(ToString::to_string).collect())
}

fn reasons(rule: &Rule) -> Vec<String> {
    rule.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn the_seeds_first_example_makes_latest_of_main() {
    let rule = Rule::starter("main");
    assert_eq!(rule.problems(), []);
    assert_eq!(tags(&rule, "refs/heads/main"), Some(vec!["latest".into()]));
    assert_eq!(tags(&rule, "refs/tags/main"), None, "a branch rule never sees tags");
    assert_eq!(rule.build_now_ref(), Ok(Ref::branch("main")));
}

#[test]
fn the_seeds_second_example_makes_its_literal_tag() {
    let rule = release();
    assert_eq!(rule.problems(), []);
    assert_eq!(
        tags(&rule, "refs/heads/release-v1"),
        Some(vec!["v1-202010151625-d4ef3dc3b77a011a5779eec7efdd45".into()])
    );
    assert_eq!(tags(&rule, "refs/heads/release-v1.2"), None);
}

#[test]
fn a_regex_a_time_or_a_commit_refuses_build_now_and_names_replay() {
    let timed = |version| Rule { versions: vec![Version::named("latest"), version], ..Rule::starter("main") };
    for (rule, reason) in [
        (release(), "its ref is a regex"),
        (timed(Version { time: Some(TimeFormat::Day), ..Version::named("v") }), "the time of the push"),
        (timed(Version { commit: CommitDigits::new(6), ..Version::named("v") }), "the commit id"),
    ] {
        let error = rule.build_now_ref().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("slipway build replay"), "{error}");
    }
}

#[test]
fn two_versions_that_become_the_same_tag_are_one() {
    let rule = Rule {
        versions: vec![Version::named("v1"), Version::named("latest"), Version::named("v1")],
        ..Rule::starter("main")
    };
    assert_eq!(tags(&rule, "refs/heads/main"), Some(vec!["v1".into(), "latest".into()]));
}

#[test]
fn a_ref_that_makes_no_tag_is_refused_with_the_reason() {
    let rule = Rule { versions: vec![Version::named("${imageTag}")], ..release() };
    let error = rule.tags(&push("refs/heads/release-")).unwrap_err().to_string();
    assert!(error.contains("${imageTag} of refs/heads/release-") && error.contains("empty"), "{error}");
}

#[test]
fn a_rule_has_either_a_branch_or_a_tag() {
    let both = Rule { tag: Some(Pattern::Literal("v1".into())), ..Rule::starter("main") };
    assert!(reasons(&both)[0].contains("not both"));
    let neither = Rule { branch: None, ..Rule::starter("main") };
    assert!(reasons(&neither)[0].contains("needs branch or tag"));
}

#[test]
fn a_rule_has_one_to_three_versions_and_at_most_twenty_arguments() {
    let versions = |n| Rule { versions: vec![Version::named("v"); n], ..Rule::starter("main") };
    assert!(!versions(0).problems().is_empty());
    assert!(versions(3).problems().is_empty());
    assert!(!versions(4).problems().is_empty());
    let args =
        |n: usize| Rule { args: (0..n).map(|i| (format!("A{i}"), String::new())).collect(), ..Rule::starter("main") };
    assert!(args(20).problems().is_empty());
    assert_eq!(reasons(&args(21)), [r#"rule "main": args: 21 build arguments; a rule has at most 20"#]);
}

#[test]
fn argument_names_are_case_sensitive_identifiers() {
    let args = |names: &[&str]| Rule {
        args: names.iter().map(|name| ((*name).to_owned(), "a=b".to_owned())).collect(),
        ..Rule::starter("main")
    };
    assert!(args(&["foo", "Foo", "_x1"]).problems().is_empty());
    for bad in ["1x", "a-b", "", "a b"] {
        assert!(!args(&[bad]).problems().is_empty(), "{bad:?}");
    }
}

#[test]
fn the_context_is_the_dockerfiles_directory_unless_another_above_it_is_named() {
    let rule = |directory: &str, context: Option<&str>| Rule {
        dockerfile: Dockerfile { directory: directory.into(), file: "Dockerfile".into() },
        context: context.map(Into::into),
        ..Rule::starter("main")
    };
    for same in ["svc/api", "/svc/api/", "./svc/api"] {
        let paths = rule(same, None).build_paths().unwrap();
        assert_eq!((paths.context.as_str(), paths.dockerfile.as_str()), ("svc/api", "Dockerfile"));
    }
    let paths = rule("svc/api", Some("/")).build_paths().unwrap();
    assert_eq!((paths.context.as_str(), paths.dockerfile.as_str()), ("", "svc/api/Dockerfile"));
    assert!(rule("docker", Some("src")).build_paths().unwrap_err().reason.to_string().contains("not in the context"));
    assert!(rule("../x", None).build_paths().is_err());
    let file = |name: &str| Rule {
        dockerfile: Dockerfile { file: name.into(), ..Dockerfile::default() },
        ..Rule::starter("main")
    };
    assert!(file("docker/Dockerfile").build_paths().is_err());
    assert!(file("api.Dockerfile").build_paths().is_ok());
}

#[test]
fn a_bad_regex_cannot_be_saved_and_is_the_only_thing_said_of_its_captures() {
    let rule = Rule { branch: Some(Pattern::Regex("release-(?<imageTag>".into())), ..release() };
    let reasons = reasons(&rule);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(
        reasons[0].starts_with(r#"rule "main": branch: the regex "release-(?<imageTag>" is wrong at column 9"#),
        "{}",
        reasons[0]
    );
}

#[test]
fn a_rule_reads_and_writes_as_the_design_shows_it() {
    let text = r#"
name = "release"
branch = { regex = 'release-(?<imageTag>\w*)' }
dockerfile = { directory = "/svc", file = "Dockerfile" }
platforms = ["linux/amd64", "linux/arm64"]
args = { GO_VERSION = "1.24" }
versions = [{ name = "${imageTag}", time = "yyyyMMddHHmm", commit = 30 }]
"#;
    let rule: Rule = toml::from_str(text).unwrap();
    assert_eq!(rule.versions[0].commit, CommitDigits::new(30));
    assert_eq!(toml::from_str::<Rule>(&toml::to_string(&rule).unwrap()).unwrap(), rule);
}
