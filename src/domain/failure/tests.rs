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
    use FailureKind::*;
    for (expected, text) in [
        (Disk, "failed to copy: failed to write: write /var/lib/buildkit/x: no space left on device"),
        (Disk, "mkdir /root/x: disk quota exceeded"),
        (Daemon, r#"failed to dial "unix:///run/x.sock" . make sure buildkitd is running: connection refused"#),
        (Daemon, "failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF"),
        (
            Daemon,
            r#"listing workers for Build: failed to list workers: Unavailable: connection error: desc = "transport: Error while dialing: dial unix /x.sock: connect: no such file or directory""#,
        ),
        (
            Daemon,
            r#"rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.5:1234: i/o timeout""#,
        ),
        (Daemon, "no active session for abc: context deadline exceeded"),
        (Dockerfile, "failed to read dockerfile: open Dockerfile: no such file or directory"),
        (Dockerfile, r#"failed to compute cache key: failed to calculate checksum of ref a::b: "/nope": not found"#),
        (Dockerfile, r#"target stage "x" could not be found"#),
        (Dockerfile, "lint violation found for rules: StageNameCasing"),
        (Dockerfile, "base name (${X}) should not be blank"),
        (
            Dockerfile,
            "docker.io/library/x:nope: failed to resolve source metadata for docker.io/library/x:nope: docker.io/library/x:nope: not found",
        ),
        (
            Dockerfile,
            "alpine: failed to resolve source metadata for alpine: no match for platform in manifest: not found",
        ),
        (
            Credentials,
            "failed to resolve source metadata for h/x: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
        ),
        (
            Credentials,
            "failed to push h/x:v1: unexpected status from POST request to https://h/v2/x/blobs/uploads/: 401 Unauthorized",
        ),
        (Credentials, "failed to push h/x:v1: unexpected status from HEAD request to https://h/v2/x: 403 Forbidden"),
        (
            Credentials,
            "failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://h/token: 401 Unauthorized",
        ),
        (
            Credentials,
            "failed to read dockerfile: failed to load cache key: failed to fetch remote https://h/r.git: git stderr:\nfatal: Authentication failed for 'https://h/r.git/': exit status 128",
        ),
        (
            Credentials,
            "failed to fetch remote https://h/r.git: git stderr:\nfatal: could not read Username for 'https://h': terminal prompts disabled: exit status 128",
        ),
        (
            Credentials,
            "failed to fetch remote git@h:r: git stderr:\ngit@h: Permission denied (publickey).\nfatal: Could not read from remote repository.: exit status 128",
        ),
        (
            Credentials,
            "failed to fetch remote git@h:r: git stderr:\nHost key verification failed.\nfatal: Could not read from remote repository.: exit status 128",
        ),
        (Source, "failed to load cache key: repository does not contain ref nope, output: \"\""),
        (
            NoCommit,
            "failed to fetch remote git://h/r.git: git stderr:\nfatal: remote error: upload-pack: not our ref abc: exit status 128",
        ),
        (
            Source,
            "failed to fetch remote https://h/r.git: git stderr:\nremote: Repository not found.\nfatal: repository 'https://h/r.git/' not found: exit status 128",
        ),
        (Source, "failed to open subdir svc/api: no such directory"),
        (
            Network,
            "failed to fetch remote https://h/r.git: git stderr:\nfatal: unable to access 'https://h/r.git/': Could not resolve host: h: exit status 128",
        ),
        (
            Network,
            "failed to fetch remote git@h:r: git stderr:\nssh: connect to host h port 22: Connection refused\nfatal: Could not read from remote repository.: exit status 128",
        ),
        (Network, r#"failed to do request: Head "https://h/v2/x": dial tcp: lookup h on 1.1.1.1:53: no such host"#),
        (
            Network,
            r#"failed to push h/x: failed to do request: Head "https://h/v2/x": dial tcp 1.2.3.4:443: i/o timeout"#,
        ),
        (
            Network,
            "failed to copy: httpReadSeeker: failed open: read tcp 1.2.3.4:1->5.6.7.8:443: read: connection reset by peer",
        ),
        (Network, "net/http: TLS handshake timeout"),
        (
            Certificate,
            r#"failed to do request: Head "https://h/v2/x": tls: failed to verify certificate: x509: certificate signed by unknown authority"#,
        ),
        (
            Certificate,
            r#"failed to do request: Head "https://h/v2/x": http: server gave HTTP response to HTTPS client"#,
        ),
        (
            Registry,
            "failed to copy: httpReadSeeker: failed open: unexpected status from GET request to https://h/v2/x: 503 Service Unavailable",
        ),
        (
            Registry,
            "failed to resolve source metadata for alpine: unexpected status from HEAD request to https://h: 429 Too Many Requests",
        ),
    ] {
        assert_eq!(kind(&format!("error: failed to solve: {text}\n")), expected, "{text}");
    }
}

#[test]
fn only_the_machinery_is_tried_again_by_itself() {
    use FailureKind::*;
    assert!([Network, Registry, Disk, Daemon].into_iter().all(FailureKind::is_machinery));
    let lasting = [Dockerfile, Source, Credentials, Certificate, Platform, Timeout, Cancelled, Unknown];
    assert!(!lasting.into_iter().any(FailureKind::is_machinery));
}

#[test]
fn a_message_is_one_short_line() {
    let failure = classify(&format!("error: failed to solve: a\n\tb {}", "é".repeat(1000)), &[], Exit::Code(1));
    assert!(failure.reason.to_string().starts_with("a b é") && failure.reason.to_string().ends_with('…'));
    assert_eq!(failure.reason.to_string().chars().count(), LONGEST_MESSAGE + 1);
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
