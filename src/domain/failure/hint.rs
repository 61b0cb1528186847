//! What can be done about a failure that a program's output tells of.

use crate::domain::reason::{AsReason, Reason, reason, use_as_reason};

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The builder lacks an emulator for the platform.
    Emulators,
    /// The source's credentials are missing or wrong.
    GitLogin,
    /// The registry's credentials are missing or wrong.
    RegistryLogin,
    /// The builder's disk or a quota is full.
    DiskFull,
    /// The builder may have run out of memory.
    OutOfMemory,
    /// The command or the shell is not in the image.
    NoSuchCommand,
    /// The builder's cache takes its disk.
    FreeSpace,
    /// Only the daemon's log tells.
    BuilderLog,
    /// The rule grants no ssh key.
    NoSshKey,
    /// The rule does not grant the host's network.
    HostNetwork,
    /// The builder does not allow the host's network.
    BuilderHostNetwork,
    /// An entitlement that no build may have.
    Insecure,
    /// `ADD` of an address of the build host.
    AddAddress,
    /// A frontend that the operator does not allow.
    FrontendNotAllowed,
    /// No Dockerfile at this commit.
    NoDockerfile,
    /// A file that the build context lacks.
    NotInContext,
    /// The source's host key is not known.
    HostKey,
    /// The builder can't reach the source's host.
    SourceUnreachable,
    /// The ref was moved after the push.
    RefMoved,
    /// A wrong URL, ref or directory.
    CheckSource,
    /// A private CA that nobody named.
    NameCa,
    /// A registry without TLS.
    PlainHttp,
    /// A registry with TLS that is spoken to without.
    SpeaksTls,
    /// The registry has no such repository.
    MakeRepository,
    /// The registry's limit of a layer's size.
    LayerLimit,
    /// Settings of the registry, such as that it is read-only.
    RegistrySettings,
    /// The builder's container runtime failed.
    ContainerRuntime,
    /// The registry's limit of requests.
    TooManyRequests,
    /// A base image without this platform.
    NoBaseForPlatform,
    /// A base image that does not exist.
    NoBase,
    /// A host that the builder can't reach.
    HostUnreachable,
    /// The image that `# syntax=` names does not exist.
    FrontendMissing,
    /// The kernel killed buildctl.
    HostMemory,
    /// A secret that the rule does not grant.
    NoSecret {
        /// The secret's id in the Dockerfile.
        id: String,
    },
}

impl Hint {
    /// Whether a hint says that the rule grants too little.
    pub fn is_of_grants(hint: &Reason) -> bool {
        ["hint.no_secret", "hint.no_ssh_key"].contains(&hint.id())
    }
}

use_as_reason!(Hint);

impl AsReason for Hint {
    fn reason(&self) -> Reason {
        match self {
            Hint::Emulators => reason!("hint.emulators"),
            Hint::GitLogin => reason!("hint.git_login"),
            Hint::RegistryLogin => reason!("hint.registry_login"),
            Hint::DiskFull => reason!("hint.disk_full"),
            Hint::OutOfMemory => reason!("hint.out_of_memory"),
            Hint::NoSuchCommand => reason!("hint.no_such_command"),
            Hint::FreeSpace => reason!("hint.free_space"),
            Hint::BuilderLog => reason!("hint.builder_log"),
            Hint::NoSshKey => reason!("hint.no_ssh_key"),
            Hint::HostNetwork => reason!("hint.host_network"),
            Hint::BuilderHostNetwork => reason!("hint.builder_host_network"),
            Hint::Insecure => reason!("hint.insecure"),
            Hint::AddAddress => reason!("hint.add_address"),
            Hint::FrontendNotAllowed => reason!("hint.frontend_not_allowed"),
            Hint::NoDockerfile => reason!("hint.no_dockerfile"),
            Hint::NotInContext => reason!("hint.not_in_context"),
            Hint::HostKey => reason!("hint.host_key"),
            Hint::SourceUnreachable => reason!("hint.source_unreachable"),
            Hint::RefMoved => reason!("hint.ref_moved"),
            Hint::CheckSource => reason!("hint.check_source"),
            Hint::NameCa => reason!("hint.name_ca"),
            Hint::PlainHttp => reason!("hint.plain_http"),
            Hint::SpeaksTls => reason!("hint.speaks_tls"),
            Hint::MakeRepository => reason!("hint.make_repository"),
            Hint::LayerLimit => reason!("hint.layer_limit"),
            Hint::RegistrySettings => reason!("hint.registry_settings"),
            Hint::ContainerRuntime => reason!("hint.container_runtime"),
            Hint::TooManyRequests => reason!("hint.too_many_requests"),
            Hint::NoBaseForPlatform => reason!("hint.no_base_for_platform"),
            Hint::NoBase => reason!("hint.no_base"),
            Hint::HostUnreachable => reason!("hint.host_unreachable"),
            Hint::FrontendMissing => reason!("hint.frontend_missing"),
            Hint::HostMemory => reason!("hint.host_memory"),
            Hint::NoSecret { id } => reason!("hint.no_secret", id),
        }
    }
}
