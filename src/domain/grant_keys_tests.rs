use super::*;

fn refs(pairs: &[(&str, SecretRef)]) -> SecretRefs {
    pairs.iter().map(|(id, reference)| ((*id).to_owned(), reference.clone())).collect()
}

fn file(name: &str) -> SecretRef {
    SecretRef::File(name.into())
}

#[test]
fn ids_of_secrets_are_what_a_dockerfile_can_ask_for() {
    for good in ["npm", "_", "9", "GIT_AUTH_TOKEN.git.example.com:8443", &"a".repeat(128)] {
        assert_eq!(check_secrets(&refs(&[(good, file("x"))])), Ok(()), "{good}");
    }
    for bad in ["", "-a", "a b", "a,b", "a=b", "../x", "a\n", "版", &"a".repeat(129)] {
        assert!(matches!(check_secrets(&refs(&[(bad, file("x"))])), Err(GrantKeyError::SecretId { .. })), "{bad}");
    }
    let many: SecretRefs = (0..=MOST_SECRETS).map(|number| (format!("s{number}"), file("x"))).collect();
    assert_eq!(check_secrets(&many), Err(GrantKeyError::TooManySecrets { count: 21 }));
    assert!(matches!(
        check_secrets(&refs(&[("a", SecretRef::Env(" ".into()))])),
        Err(GrantKeyError::EmptySecret { .. })
    ));
    for bad in ["A B", "9A", "A-B", "A=B"] {
        let checked = check_secrets(&refs(&[("a", SecretRef::Env(bad.into()))]));
        assert!(matches!(checked, Err(GrantKeyError::Variable { .. })), "{bad}");
    }
}

#[test]
fn no_build_gets_a_credential_that_slipway_keeps_for_itself() {
    for own in ["platform-github", "webhook-gitlab", "renewal-github", "registry-registry.example.com"] {
        assert!(matches!(check_secrets(&refs(&[("x", file(own))])), Err(GrantKeyError::OwnFile { .. })), "{own}");
        assert!(matches!(check_ssh(&[own.to_owned()]), Err(GrantKeyError::OwnFile { .. })), "{own}");
    }
    assert!(matches!(check_ssh(&["../id".into()]), Err(GrantKeyError::SecretFile { .. })));
    assert_eq!(check_ssh(&["a".into(), "a".into()]), Err(GrantKeyError::Twice { name: "a".into() }));
}

#[test]
fn places_to_pull_from_are_hosts_with_paths() {
    for good in [
        "registry.example.com",
        "registry.example.com:5000/base",
        "localhost/x",
        "127.0.0.1:5000",
        "[::1]:5000/a/b",
        "docker.io/acme",
    ] {
        assert_eq!(check_pull_from(&[good.to_owned()]), Ok(()), "{good}");
    }
    for bad in ["", "acme", "https://x.y", "x.y/", "x.y//a", "x.y/A", "x.y:port", "x.y/a b", "*.example.com", "/a"] {
        assert!(matches!(check_pull_from(&[bad.to_owned()]), Err(GrantKeyError::PullFrom { .. })), "{bad}");
    }
}
