use super::*;

#[test]
fn arguments_that_look_like_secrets_by_name_or_by_value_are_found_and_no_others() {
    for (name, value) in [
        ("NPM_TOKEN", "abc"),
        ("db_password", "hunter2"),
        ("X", "ghp_0123456789abcdefghij0123456789abcdef"),
        ("X", "glpat-0123456789abcdefghij"),
        ("X", "AKIA0123456789ABCDEF"),
        ("X", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"),
        ("X", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijkl"),
        ("INDEX_URL", "https://ci:hunter2@pypi.example.com/simple"),
    ] {
        assert!(is_secret_arg(name, value), "{name}={value}");
    }
    for (name, value) in [
        ("GO_VERSION", "1.24"),
        ("NPM_TOKEN", ""),
        ("SKIP_SECRETS", "true"),
        ("X", "https://pypi.example.com/simple"),
        ("X", "https://user@git.example.com/a:b@c"),
        ("X", "npm_config"),
        ("SHA", "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa"),
        ("X", "eyJ"),
    ] {
        assert!(!is_secret_arg(name, value), "{name}={value}");
    }
}

#[test]
fn an_argument_of_a_rule_moves_no_boundary_and_a_forced_one_passes() {
    let args = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for reserved in ["BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_SYNTAX", "BUILDKIT_CONTEXT_KEEP_GIT_DIR"] {
        let found = problems(&args(&[(reserved, "x")]), &[reserved.to_owned()]);
        assert!(matches!(found[..], [ArgError::ReservedArg { .. }]), "{reserved}");
    }
    assert_eq!(problems(&args(&[("BUILDKIT_SANDBOX_HOSTNAME", "x"), ("SOURCE_DATE_EPOCH", "0")]), &[]), []);
    let secret = args(&[("NPM_TOKEN", "abc")]);
    assert_eq!(problems(&secret, &[]), [ArgError::SecretArg { name: "NPM_TOKEN".into() }]);
    assert_eq!(problems(&secret, &["NPM_TOKEN".into()]), []);
    assert!(check_plain(&secret, &["NPM".into()]).is_err());
    assert_eq!(check_plain(&secret, &["NPM_TOKEN".into()]), Ok(()));
}
