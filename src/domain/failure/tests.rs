use super::*;

fn failed(name: &str, error: &str) -> Step {
    Step { number: 5, state: StepState::Failed, error: Some(error.to_owned()), ..Step::named(0, name) }
}

fn kind(text: &str) -> FailureKind {
    classify(text, &[], Exit::Code(1)).kind
}

#[test]
fn a_run_that_fails_is_the_dockerfiles_fault_whatever_it_says() {
    let error = r#"process "/bin/sh -c echo \"no such host\"; curl x" did not complete successfully: exit code: 6"#;
    let mut step = failed("[build 2/7] RUN curl x", error);
    step.last_line = Some("curl: (6) dial tcp: lookup x: no such host".into());
    let text = format!(
        "Dockerfile:5\n--------------------\n   5 | >>> RUN\n--------------------\nerror: failed to solve: {error}\n"
    );
    let failure = classify(&text, &[step], Exit::Code(1));
    assert_eq!(failure.kind, FailureKind::Dockerfile);
    assert_eq!((failure.exit_code, failure.signal, failure.step), (Some(6), None, Some(5)));
    assert_eq!((failure.file.as_deref(), failure.line), (Some("Dockerfile"), Some(5)));
    assert_eq!(
        failure.reason.to_string(),
        "RUN curl x ended with exit code: 6: curl: (6) dial tcp: lookup x: no such host"
    );
}

#[test]
fn a_command_that_the_container_runtime_could_not_start_is_the_builders_fault_unless_it_is_missing() {
    let error = r#"process "/bin/sh -c make" did not complete successfully: exit code: 1"#;
    let kind_of = |said: &str| {
        let step = Step { last_line: Some(said.to_owned()), ..failed("[build 2/7] RUN make", error) };
        classify(&format!("error: failed to solve: {error}"), &[step], Exit::Code(1)).kind
    };
    for said in [
        "runc run failed: no cgroup mount found in mountinfo",
        "runc run failed: unable to start container process: error during container init: error mounting \"proc\" to rootfs at \"/proc\": operation not permitted",
        "runc run failed: unable to start container process: can't get final child's PID from pipe: EOF",
        "runc run failed: container_linux.go:380: starting container process caused: process_linux.go:545: container init caused: failed to update oom_score_adj",
    ] {
        assert_eq!(kind_of(said), FailureKind::Daemon, "{said}");
    }
    for said in [
        r#"runc run failed: unable to start container process: exec: "nosuch": executable file not found in $PATH"#,
        r#"runc run failed: unable to start container process: error during container init: exec: "/x": permission denied"#,
        r#"runc run failed: unable to start container process: chdir to cwd ("/app") set in config.json failed: permission denied"#,
        r#"runc run failed: unable to start container process: error mounting "/a" to rootfs at "/etc/passwd/x": not a directory"#,
        "make: *** runc run failed: no rule",
    ] {
        assert_eq!(kind_of(said), FailureKind::Dockerfile, "{said}");
    }
}

#[test]
fn a_run_that_was_killed_names_the_signal() {
    let failure = classify(
        r#"error: failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 137: cannot allocate memory"#,
        &[],
        Exit::Code(1),
    );
    assert_eq!((failure.exit_code, failure.signal), (Some(137), Some(9)));
    assert!(failure.hint.unwrap().to_string().contains("memory"));
}

#[test]
fn a_program_of_another_platform_asks_for_emulators() {
    let error = r#"process "/bin/sh -c true" did not complete successfully: exit code: 255"#;
    let mut step = failed("[linux/arm64 2/2] RUN true", error);
    step.last_line = Some("exec /bin/sh: exec format error".into());
    let failure = classify(&format!("error: failed to solve: {error}"), &[step], Exit::Code(1));
    assert!(failure.reason.to_string().starts_with("linux/arm64: RUN true ended with"), "{}", failure.reason);
    assert_eq!(failure.clone().on("linux/arm64"), failure);
    assert!(failure.hint.unwrap().to_string().contains("emulators"));
    assert_eq!(kind("error: failed to solve: failed to start: exec format error"), FailureKind::Platform);
}

#[test]
fn a_run_that_was_stopped_is_cancelled() {
    let text = r#"error: failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 137: context canceled"#;
    assert_eq!(kind(text), FailureKind::Cancelled);
    assert_eq!(kind("error: failed to solve: Canceled: context canceled"), FailureKind::Cancelled);
}

#[test]
fn a_cache_that_is_missing_is_not_the_step_that_failed() {
    let cache =
        failed("importing cache manifest from h/x:cache", "failed to configure registry cache importer: not found");
    let failure = classify(
        "error: failed to solve: dockerfile parse error on line 2: unknown instruction: RUM",
        &[cache],
        Exit::Code(1),
    );
    assert_eq!((failure.step, failure.line), (None, Some(2)));
    assert_eq!(failure.reason.to_string(), "dockerfile parse error on line 2: unknown instruction: RUM");
}

#[test]
fn buildctl_that_dies_without_a_word_is_machinery() {
    let failure = classify("", &[], Exit::Signal(9));
    assert!(failure.kind.is_machinery());
    assert_eq!(failure.reason.to_string(), "buildctl was killed by signal 9");
    assert_eq!(
        classify(" \n", &[], Exit::Code(3)).reason.to_string(),
        "buildctl ended with status 3 and did not say why"
    );
}

#[test]
fn an_unknown_error_of_a_line_of_the_dockerfile_is_the_dockerfiles() {
    let step = failed("[2/3] ADD x /", "something new");
    assert_eq!(classify("error: failed to solve: something new", &[step], Exit::Code(1)).kind, FailureKind::Dockerfile);
    assert_eq!(kind("error: something new"), FailureKind::Unknown);
}

#[test]
fn every_known_text_has_its_kind() {
    let known: toml::Table = include_str!("known.toml").parse().unwrap();
    for (expected, texts) in known {
        let expected: FailureKind = toml::Value::String(expected).try_into().unwrap();
        for text in texts.as_array().unwrap() {
            let text = text.as_str().unwrap();
            assert_eq!(kind(&format!("error: failed to solve: {text}\n")), expected, "{text}");
        }
    }
}

#[test]
fn only_the_machinery_is_tried_again_by_itself() {
    use FailureKind::*;
    assert!([Network, Registry, Disk, Daemon].into_iter().all(FailureKind::is_machinery));
    let lasting =
        [Dockerfile, Source, Credentials, RegistryRefused, Certificate, Platform, Timeout, Cancelled, Unknown];
    assert!(!lasting.into_iter().any(FailureKind::is_machinery));
}

#[test]
fn a_message_is_one_short_line() {
    let failure = classify(&format!("error: failed to solve: a\n\tb {}", "é".repeat(1000)), &[], Exit::Code(1));
    assert!(failure.reason.to_string().starts_with("a b é") && failure.reason.to_string().ends_with('…'));
    assert_eq!(failure.reason.to_string().chars().count(), LONGEST_MESSAGE + 1);
}

#[test]
fn a_message_has_no_names_of_buildkits_own() {
    let error = r#"failed to compute cache key: failed to calculate checksum of ref errt5o5lo0::uy7bid0o08k: "/nothere": not found"#;
    let failure = classify(&format!("error: failed to solve: {error}"), &[], Exit::Code(1));
    assert_eq!(failure.kind, FailureKind::Dockerfile);
    assert_eq!(failure.reason.to_string(), r#""/nothere": not found"#);
}

#[test]
fn what_a_rule_does_not_grant_is_the_dockerfiles_with_the_way_to_grant_it() {
    let excerpt = |line: u32, error: &str| {
        format!(
            "Dockerfile:{line}\n--------------------\n   {line} | >>> RUN x\n--------------------\nerror: failed to solve: {error}\n"
        )
    };
    for (error, hint) in [
        ("no SSH key \"\" forwarded from the client", "slipway secret set"),
        ("failed to build: secret npm: not found", "the rule grants no secret npm"),
        ("secret GIT_AUTH_TOKEN.git.example.com: not found", "slipway secret set"),
        ("failed to load LLB: network.host is not allowed", "network_mode"),
        ("security.insecure is not allowed", "no build may have this"),
        ("'docker.io/evil/fe' is not an allowed gateway source", "frontends"),
    ] {
        let failure = classify(&excerpt(4, error), &[], Exit::Code(1));
        assert_eq!((failure.kind, failure.line), (FailureKind::Dockerfile, Some(4)), "{error}");
        assert!(failure.hint.clone().unwrap_or_default().to_string().contains(hint), "{error}: {:?}", failure.hint);
    }
}

#[test]
fn an_error_with_an_excerpt_is_the_dockerfiles_unless_something_outside_is_known_to_be_at_fault() {
    let excerpt = |error: &str| {
        format!(
            "Dockerfile:4\n--------------------\n   4 | >>> ADD x\n--------------------\nerror: failed to solve: {error}\n"
        )
    };
    for error in
        ["unsupported digest algorithm", "something that nobody has seen before", "open Dockerfile: not a regular file"]
    {
        assert_eq!(kind(&excerpt(error)), FailureKind::Dockerfile, "{error}");
    }
    assert_eq!(kind(&excerpt("dial tcp 10.0.0.1:443: i/o timeout")), FailureKind::Network);
    assert_eq!(kind("error: failed to solve: something that nobody has seen before"), FailureKind::Unknown);
    assert_eq!(kind("error: failed to solve: too many links"), FailureKind::Dockerfile);
    assert_eq!(
        kind("error: git stderr: fatal: remote error: access denied or repository not exported: /x"),
        FailureKind::Source
    );
}

#[test]
fn a_frontend_that_is_not_there_is_no_base_image() {
    let text = "Dockerfile:1\n--------------------\n   1 | >>> # syntax=docker/dockerfile:99\n   2 |     FROM x\n--------------------\n\
        error: failed to solve: docker/dockerfile:99: failed to resolve source metadata for docker.io/docker/dockerfile:99: not found\n";
    let failure = classify(text, &[], Exit::Code(1));
    assert_eq!(failure.kind, FailureKind::Dockerfile);
    assert!(failure.hint.unwrap().to_string().contains("# syntax="));
}
