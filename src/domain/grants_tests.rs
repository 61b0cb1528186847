use super::*;
use crate::domain::image_output::ImageFormat;
use crate::domain::secret_ref::SecretRef;

fn refs(pairs: &[(&str, SecretRef)]) -> SecretRefs {
    pairs.iter().map(|(id, reference)| ((*id).to_owned(), reference.clone())).collect()
}

fn file(name: &str) -> SecretRef {
    SecretRef::File(name.into())
}

#[test]
fn a_rules_secret_is_before_its_namespaces_and_the_keys_of_both_are_in_the_agent() {
    let namespace = Namespace {
        secrets: refs(&[("npm", file("team-npm")), ("pip", file("pip"))]),
        ssh: vec!["deploy".into()],
        network_mode: NetworkMode::None,
        ..Namespace::default()
    };
    let rule = Rule {
        secrets: refs(&[("npm", SecretRef::Env("NPM".into()))]),
        ssh: vec!["deploy".into(), "private".into()],
        ..Rule::starter("main")
    };
    let grants = Grants::of("acme", &namespace, &rule).unwrap();
    assert_eq!(grants.secrets, refs(&[("npm", SecretRef::Env("NPM".into())), ("pip", file("pip"))]));
    assert_eq!(grants.ssh, ["deploy", "private"]);
    assert_eq!(grants.network_mode, NetworkMode::None);
}

#[test]
fn the_hosts_network_needs_the_namespaces_leave() {
    let rule = Rule { network_mode: Some(NetworkMode::Host), ..Rule::starter("main") };
    let error = Grants::of("acme", &Namespace::default(), &rule).unwrap_err();
    assert_eq!(error, GrantError::HostNetwork { namespace: "acme".into() });
    let allowed = Namespace { allow_host_network: true, ..Namespace::default() };
    assert_eq!(Grants::of("acme", &allowed, &rule).unwrap().network_mode, NetworkMode::Host);
    let as_default = Namespace { network_mode: NetworkMode::Host, ..Namespace::default() };
    assert_eq!(as_default.problems().len(), 1);
    assert_eq!(Namespace { allow_host_network: true, ..as_default }.problems(), []);
}

#[test]
fn rules_and_namespaces_read_as_the_design_shows_them() {
    let rule: Rule = toml::from_str(
        "name = \"main\"\nbranch = \"main\"\nsecrets = { npm = { file = \"npm\" } }\nssh = [\"deploy\"]\nnetwork_mode = \"none\"\nkeep_git = true\n\
         versions = [{ name = \"latest\" }]\n",
    )
    .unwrap();
    assert_eq!(rule.problems(), []);
    assert_eq!(rule.secrets, refs(&[("npm", file("npm"))]));
    assert_eq!((rule.network_mode, rule.keep_git), (Some(NetworkMode::None), true));
    let namespace: Namespace =
        toml::from_str("pull_from = [\"registry.example.com/base\"]\nallow_host_network = true\n").unwrap();
    assert_eq!(namespace.problems(), []);
    assert!(toml::from_str::<Rule>("name = \"a\"\nversions = []\nnetwork_mode = \"bridge\"\n").is_err());
}

#[test]
fn dockers_format_goes_to_a_registry_and_not_into_a_layout_of_oci() {
    let docker = Rule { format: ImageFormat::Docker, ..Rule::starter("main") };
    let local = Namespace::default();
    let found = forbidden("acme", &local, &docker);
    assert!(found.len() == 1 && found[0].field == "format", "{found:?}");
    let remote = Namespace { registry: "registry.example.com".into(), ..Namespace::default() };
    assert_eq!(forbidden("acme", &remote, &docker), []);
    assert_eq!(forbidden("acme", &local, &Rule::starter("main")), []);
}
