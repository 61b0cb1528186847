//! Commands and manifests that use an image, for programs: never translated. Pure.

use super::config::RegistrySettings;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// The port at which Dragonfly's peer daemon serves registries.
const DRAGONFLY: &str = "http://127.0.0.1:4001";
/// The port at which Spegel serves registries on each node.
const SPEGEL: &str = "http://127.0.0.1:30020";
/// The longest label of Kubernetes: names of containers are such labels.
const LONGEST_LABEL: usize = 63;

/// What an image is to be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseWith {
    /// `docker pull`.
    Docker,
    /// `podman pull`.
    Podman,
    /// `nerdctl pull`.
    Nerdctl,
    /// `skopeo copy`.
    Skopeo,
    /// A Deployment of Kubernetes.
    Deployment,
    /// containerd's `hosts.toml`.
    Hosts,
}

/// A network of peers that hands images on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerNetwork {
    /// Dragonfly, by its peer daemon on each node.
    Dragonfly,
    /// Spegel, by its daemon on each node.
    Spegel,
}

/// An image by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOfTag {
    /// With its tag: `registry.example.com/acme/api:v1`.
    pub name: String,
    /// `sha256:…`; "": not known.
    pub digest: String,
    /// The platforms, where they are known.
    pub platforms: Vec<String>,
    /// The OCI layout that holds it, where it is in the registry "local".
    pub layout: Option<String>,
    /// The repository's own name: `api`.
    pub repository: String,
}

/// How an image is to be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UseOptions {
    /// The pull secret of the Deployment; none: nodes may pull without one.
    pub secret: Option<String>,
    /// A registry that is asked first: `https://mirror.example.com`.
    pub mirror: Option<String>,
    /// A network of peers that is asked first.
    pub peers: Option<PeerNetwork>,
}

/// Why there is no such text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseError {
    /// Only this host has the image.
    OnlyHere {
        /// The image.
        name: String,
    },
    /// A URL of a mirror that is none.
    Mirror {
        /// What was given.
        url: String,
    },
}

display_as_reason!(UseError);

impl AsReason for UseError {
    fn reason(&self) -> Reason {
        match self {
            UseError::OnlyHere { name } => reason!("use.only_here", name),
            UseError::Mirror { url } => reason!("use.mirror", url = quoted(url)),
        }
    }
}

impl ImageOfTag {
    /// The registry, the name without the tag, and the tag.
    fn parts(&self) -> (&str, &str, &str) {
        let (image, tag) = self.name.rsplit_once(':').unwrap_or((&self.name, "latest"));
        (image.split('/').next().unwrap_or_default(), image, tag)
    }

    /// By its digest, where that is known: `registry.example.com/acme/api@sha256:…`.
    fn by_digest(&self) -> Option<String> {
        (!self.digest.is_empty()).then(|| format!("{}@{}", self.parts().1, self.digest))
    }

    /// By tag and digest, where that is known.
    fn pinned(&self) -> String {
        if self.digest.is_empty() { self.name.clone() } else { format!("{}@{}", self.name, self.digest) }
    }
}

/// The text that uses an image; `registry` are the settings of its registry.
///
/// # Errors
/// When other machines can't have the image, or an option makes no sense.
pub fn text(
    with: UseWith,
    image: &ImageOfTag,
    registry: &RegistrySettings,
    options: &UseOptions,
) -> Result<String, UseError> {
    match (&image.layout, with) {
        (Some(_), UseWith::Deployment | UseWith::Hosts) => Err(UseError::OnlyHere { name: image.name.clone() }),
        (Some(layout), with) => Ok(from_layout(with, image, layout)),
        (None, UseWith::Deployment) => Ok(deployment(image, options.secret.as_deref())),
        (None, UseWith::Hosts) => hosts(image, registry, options),
        (None, with) => Ok(pull(with, image, registry.plain_http)),
    }
}

fn from_layout(with: UseWith, image: &ImageOfTag, layout: &str) -> String {
    let (_, _, tag) = image.parts();
    let (from, name) = (shell(&format!("oci:{layout}:{tag}")), &image.name);
    let archive = shell(&format!("{}.tar", image.repository));
    match with {
        UseWith::Podman => format!("podman pull {from}\n"),
        UseWith::Nerdctl => {
            format!("skopeo copy --all {from} oci-archive:{archive}:{name}\nnerdctl load --input {archive}\n")
        }
        UseWith::Skopeo => format!("skopeo copy --all {from} docker://REGISTRY/{name}\n"),
        _ => format!("skopeo copy {from} docker-daemon:{name}\n"),
    }
}

/// The command that has the image by its tag; all of them where it takes several.
pub fn command(with: UseWith, image: &ImageOfTag, registry: &RegistrySettings) -> Option<String> {
    let text = text(with, image, registry, &UseOptions::default()).ok()?;
    match image.layout {
        Some(_) => Some(text.trim_end().to_owned()),
        None => text.lines().find(|line| !line.starts_with('#')).map(str::to_owned),
    }
}

/// One command by the tag, and one by the digest.
fn pull(with: UseWith, image: &ImageOfTag, plain_http: bool) -> String {
    let (host, ..) = image.parts();
    let (command, note) = match (with, plain_http) {
        (UseWith::Podman, false) => ("podman pull", String::new()),
        (UseWith::Podman, true) => ("podman pull --tls-verify=false", String::new()),
        (UseWith::Nerdctl, false) => ("nerdctl pull", String::new()),
        (UseWith::Nerdctl, true) => ("nerdctl --insecure-registry pull", String::new()),
        (UseWith::Skopeo, false) => ("skopeo copy --all", String::new()),
        (UseWith::Skopeo, true) => ("skopeo copy --all --src-tls-verify=false", String::new()),
        (_, false) => ("docker pull", String::new()),
        (_, true) => {
            ("docker pull", format!("# /etc/docker/daemon.json needs \"insecure-registries\": [\"{host}\"]\n"))
        }
    };
    let line = |name: &str| match with {
        UseWith::Skopeo => format!("{command} docker://{name} oci:{}\n", shell(&image.repository)),
        _ => format!("{command} {name}\n"),
    };
    let by_digest = image.by_digest().map(|name| line(&name)).unwrap_or_default();
    format!("{note}{}{by_digest}", line(&image.name))
}

fn deployment(image: &ImageOfTag, secret: Option<&str>) -> String {
    let (host, ..) = image.parts();
    let name = label(&image.repository);
    let mut text = String::new();
    let mut pull_secret = String::new();
    if let Some(secret) = secret {
        let secret = label(secret);
        let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
        text.push_str(&format!(
            "# The pull secret, once in each namespace:\n\
             #   kubectl create secret docker-registry {secret} --docker-server={server} \\\n\
             #     --docker-username=\"$REGISTRY_USER\" --docker-password=\"$REGISTRY_PASSWORD\"\n\
             # or, of what `docker login` left behind:\n\
             #   kubectl create secret generic {secret} --type=kubernetes.io/dockerconfigjson \\\n\
             #     --from-file=.dockerconfigjson=\"$HOME/.docker/config.json\"\n"
        ));
        pull_secret = format!("      imagePullSecrets:\n        - name: \"{secret}\"\n");
    }
    let selector = only_platform(&image.platforms).map_or_else(String::new, |(os, architecture)| {
        format!(
            "      nodeSelector:\n        kubernetes.io/os: \"{os}\"\n        kubernetes.io/arch: \"{architecture}\"\n"
        )
    });
    text.push_str(&format!(
        "apiVersion: apps/v1\n\
         kind: Deployment\n\
         metadata:\n  name: \"{name}\"\n  labels:\n    app.kubernetes.io/name: \"{name}\"\n\
         spec:\n  replicas: 1\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: \"{name}\"\n\
         \x20 template:\n    metadata:\n      labels:\n        app.kubernetes.io/name: \"{name}\"\n\
         \x20   spec:\n{pull_secret}{selector}      containers:\n        - name: \"{name}\"\n          image: \"{}\"\n",
        image.pinned()
    ));
    text
}

/// System and architecture of an image that runs on one of each alone.
fn only_platform(platforms: &[String]) -> Option<(&str, &str)> {
    let mut all = platforms.iter().map(|platform| {
        let mut parts = platform.split('/');
        Some((parts.next()?, parts.next()?))
    });
    let first = all.next()??;
    // Whoever answers for the registry writes these, and they stand in a manifest.
    let is_plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_plain(first.0) || !is_plain(first.1) {
        return None;
    }
    all.all(|other| other == Some(first)).then_some(first)
}

fn hosts(image: &ImageOfTag, registry: &RegistrySettings, options: &UseOptions) -> Result<String, UseError> {
    let (host, ..) = image.parts();
    let scheme = if registry.plain_http { "http" } else { "https" };
    let server = match host {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        host => format!("{scheme}://{host}"),
    };
    let mut text = format!("# /etc/containerd/certs.d/{host}/hosts.toml on every node; containerd needs\n");
    text.push_str("# config_path = \"/etc/containerd/certs.d\" in its registry settings.\n");
    text.push_str(&format!("server = \"{server}\"\n"));
    if let Some(ca) = &registry.ca {
        text.push_str(&format!("ca = \"/etc/containerd/certs.d/{host}/ca.pem\"  # a copy of {}\n", ca.escape_debug()));
    }
    let mut asked_first: Vec<(String, String)> = Vec::new();
    match options.peers {
        Some(PeerNetwork::Dragonfly) => {
            let header = format!("\n  [host.\"{DRAGONFLY}\".header]\n    X-Dragonfly-Registry = [\"{server}\"]\n");
            asked_first.push((DRAGONFLY.to_owned(), header));
        }
        Some(PeerNetwork::Spegel) => asked_first.push((SPEGEL.to_owned(), String::new())),
        None => {}
    }
    if let Some(mirror) = &options.mirror {
        asked_first.push((checked(mirror)?, String::new()));
    } else if options.peers.is_none() {
        asked_first.extend(registry.mirrors.iter().map(|mirror| (format!("https://{mirror}"), String::new())));
    }
    for (url, more) in asked_first {
        text.push_str(&format!("\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n{more}"));
    }
    Ok(text)
}

/// The URL of a mirror; a host alone is spoken to with TLS.
fn checked(mirror: &str) -> Result<String, UseError> {
    let url = if mirror.contains("://") { mirror.to_owned() } else { format!("https://{mirror}") };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let is_url = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&b));
    if is_url { Ok(url) } else { Err(UseError::Mirror { url: mirror.to_owned() }) }
}

/// A name that Kubernetes takes: a label of RFC 1123.
fn label(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(fit).collect();
    let cut: String = text.trim_matches('-').chars().take(LONGEST_LABEL).collect();
    match cut.trim_end_matches('-') {
        "" => "app".to_owned(),
        label => label.to_owned(),
    }
}

/// A word of a shell.
fn shell(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/:@%+=,".contains(&b);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageOfTag {
        ImageOfTag {
            name: "registry.example.com/acme/my_api.v2:v1".into(),
            digest: "sha256:0123".into(),
            platforms: vec!["linux/amd64".into()],
            layout: None,
            repository: "my_api.v2".into(),
        }
    }

    fn of(with: UseWith) -> String {
        text(with, &image(), &RegistrySettings::default(), &UseOptions::default()).unwrap()
    }

    #[test]
    fn images_are_pulled_by_tag_and_by_digest() {
        let (tag, digest) =
            ("registry.example.com/acme/my_api.v2:v1", "registry.example.com/acme/my_api.v2@sha256:0123");
        assert_eq!(of(UseWith::Docker), format!("docker pull {tag}\ndocker pull {digest}\n"));
        assert_eq!(of(UseWith::Podman), format!("podman pull {tag}\npodman pull {digest}\n"));
        assert_eq!(of(UseWith::Nerdctl), format!("nerdctl pull {tag}\nnerdctl pull {digest}\n"));
        let command = command(UseWith::Docker, &image(), &RegistrySettings::default());
        assert_eq!(command.unwrap(), format!("docker pull {tag}"));
        let skopeo = |name| format!("skopeo copy --all docker://{name} oci:my_api.v2\n");
        assert_eq!(of(UseWith::Skopeo), skopeo(tag) + &skopeo(digest));
    }

    #[test]
    fn a_registry_without_tls_is_said_to_be_one() {
        let plain = RegistrySettings { plain_http: true, ..RegistrySettings::default() };
        let of = |with| text(with, &image(), &plain, &UseOptions::default()).unwrap();
        assert!(of(UseWith::Docker).starts_with("# /etc/docker/daemon.json needs \"insecure-registries\""));
        assert!(of(UseWith::Podman).contains("--tls-verify=false"));
        assert!(of(UseWith::Nerdctl).contains("--insecure-registry"));
        assert!(of(UseWith::Skopeo).contains("--src-tls-verify=false"));
        assert!(of(UseWith::Hosts).contains("server = \"http://registry.example.com\"\n"));
    }

    #[test]
    fn a_local_image_is_copied_out_of_its_layout_and_no_cluster_can_have_it() {
        let local = ImageOfTag { name: "acme/api:v1".into(), layout: Some("/srv/it's/api".into()), ..image() };
        let of = |with| text(with, &local, &RegistrySettings::default(), &UseOptions::default());
        let from = "'oci:/srv/it'\\''s/api:v1'";
        assert_eq!(of(UseWith::Docker).unwrap(), format!("skopeo copy {from} docker-daemon:acme/api:v1\n"));
        assert_eq!(of(UseWith::Podman).unwrap(), format!("podman pull {from}\n"));
        assert!(of(UseWith::Nerdctl).unwrap().ends_with("nerdctl load --input my_api.v2.tar\n"));
        for with in [UseWith::Deployment, UseWith::Hosts] {
            assert!(matches!(of(with), Err(UseError::OnlyHere { .. })));
        }
    }

    #[test]
    fn a_deployment_names_the_image_by_tag_and_digest_and_itself_as_kubernetes_wants() {
        let options = UseOptions { secret: Some("Registry_Example".into()), ..UseOptions::default() };
        let text = text(UseWith::Deployment, &image(), &RegistrySettings::default(), &options).unwrap();
        insta::assert_snapshot!(text);
        assert!(!of(UseWith::Deployment).contains("imagePullSecrets"));
        let several = ImageOfTag { platforms: vec!["linux/amd64".into(), "linux/arm64".into()], ..image() };
        let text = super::text(UseWith::Deployment, &several, &RegistrySettings::default(), &UseOptions::default());
        assert!(!text.unwrap().contains("nodeSelector"));
        for platform in ["linux\"\n      hostNetwork: true/amd64", "linux/amd64\"\n", "linux/\\x2f"] {
            let hostile = ImageOfTag { platforms: vec![platform.into()], ..image() };
            let text = super::text(UseWith::Deployment, &hostile, &RegistrySettings::default(), &UseOptions::default());
            let text = text.unwrap();
            assert!(!text.contains("nodeSelector") && !text.contains("hostNetwork"), "{text}");
        }
        for (name, expected) in [("123", "123"), ("-A_b-", "a-b"), ("...", "app"), (&*"x".repeat(70), &*"x".repeat(63))]
        {
            assert_eq!(label(name), expected);
        }
    }

    #[test]
    fn hosts_toml_asks_mirrors_and_peers_first() {
        let of = |options: UseOptions| text(UseWith::Hosts, &image(), &RegistrySettings::default(), &options);
        let parsed = |text: &str| text.parse::<toml_edit::DocumentMut>().unwrap();
        let mirror = of(UseOptions { mirror: Some("mirror.example.com".into()), ..UseOptions::default() }).unwrap();
        assert!(parsed(&mirror)["host"].get("https://mirror.example.com").is_some(), "{mirror}");
        let peers = |network| of(UseOptions { peers: Some(network), ..UseOptions::default() }).unwrap();
        let dragonfly = parsed(&peers(PeerNetwork::Dragonfly));
        let header = &dragonfly["host"][DRAGONFLY]["header"]["X-Dragonfly-Registry"];
        assert_eq!(header[0].as_str(), Some("https://registry.example.com"));
        assert!(parsed(&peers(PeerNetwork::Spegel))["host"].get(SPEGEL).is_some());
        let hub = ImageOfTag { name: "docker.io/acme/api:v1".into(), ..image() };
        let hub = text(UseWith::Hosts, &hub, &RegistrySettings::default(), &UseOptions::default()).unwrap();
        assert!(hub.contains("server = \"https://registry-1.docker.io\"\n"), "{hub}");
        let wrong = of(UseOptions { mirror: Some("https://x\"]".into()), ..UseOptions::default() });
        assert!(matches!(wrong, Err(UseError::Mirror { .. })));
    }
}
