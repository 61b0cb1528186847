//! The table: words in an error, whose fault they mean, and what to do. The first row that fits holds, so special
//! words stand before general ones. The texts are those of BuildKit, containerd, Go, git and ssh.

use std::sync::LazyLock;

use regex::Regex;

use super::hint::Hint;
use super::kind::FailureKind::{self, *};

/// One row.
pub(super) struct Cause {
    pub(super) kind: FailureKind,
    /// It fits when all words of one of these groups are in the error, in lower case.
    groups: &'static [&'static [&'static str]],
    pub(super) hint: Option<Hint>,
}

/// A pattern of this room.
pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern in the source code, tried by the tests")
}

/// The row that fits an error.
pub(super) fn find(error: &str) -> Option<&'static Cause> {
    let error = with_status(&error.to_lowercase());
    let fits = |words: &&[&str]| words.iter().all(|word| error.contains(word));
    CAUSES.iter().find(|cause| cause.groups.iter().any(&fits))
}

/// An error with `status=405` at its end where it tells of a registry's answer: the number is what counts, the phrase
/// after it is each server's own.
fn with_status(error: &str) -> String {
    static STATUS: LazyLock<Regex> =
        LazyLock::new(|| regex(r"unexpected status(?: from [a-z]+ request to \S+)?: (\d{3})\b"));
    match STATUS.captures(error) {
        Some(found) => format!("{error} status={}", &found[1]),
        None => error.to_owned(),
    }
}

/// What to do about a command that failed; `said` is the last line that it printed.
pub(super) fn hint_for_command(said: &str, error: &str, code: i32) -> Option<Hint> {
    let said = said.to_lowercase();
    let has = |word: &str| said.contains(word);
    if has("exec format error") {
        Some(Hint::Emulators)
    } else if has("no space left on device") {
        Some(Hint::DiskFull)
    } else if code == 137 || error.contains("cannot allocate memory") {
        Some(Hint::OutOfMemory)
    } else if code == 127 {
        Some(Hint::NoSuchCommand)
    } else {
        None
    }
}

/// What the container runtime prints before its reason when it could not start a command.
const RUNTIME_ERRORS: [&str; 2] = ["runc run failed: ", "runc create failed: "];
/// Reasons of the container runtime that the Dockerfile can change: the program, its working directory, its user, the
/// target of a mount.
const DOCKERFILES_OWN: [&str; 6] =
    ["exec: \"", "exec /", "chdir to cwd", "not a directory", "unmapped user", "unmapped group"];
/// Whether a command never ran because the builder's container runtime failed; `said` is the last line that the step
/// printed.
pub(super) fn is_of_container_runtime(said: &str) -> bool {
    let reason = RUNTIME_ERRORS.iter().find_map(|prefix| said.strip_prefix(prefix));
    reason.is_some_and(|reason| !DOCKERFILES_OWN.iter().any(|words| reason.contains(words)))
}

const CAUSES: &[Cause] = &[
    Cause {
        kind: Cancelled,
        groups: &[&["canceled: context canceled"], &["code = canceled"], &["did not complete", "context canceled"]],
        hint: None,
    },
    Cause {
        kind: Disk,
        groups: &[&["no space left on device"], &["disk quota exceeded"]],
        hint: Some(Hint::FreeSpace),
    },
    Cause {
        kind: Daemon,
        groups: &[
            &["make sure buildkitd is running"],
            &["error reading from server"],
            &["transport: error while dialing"],
            &["transport is closing"],
            &["connection error: desc"],
            &["failed to receive status", "code = unavailable"],
            &["failed to receive status", "unexpected eof"],
            &["code = unavailable", "desc = connection closed"],
            &["failed to list workers"],
            &["no active session"],
            &["no worker found"],
            &["seccomp: config provided but seccomp not supported"],
            &["failed to find runc binary"],
            &["runtime error:"],
        ],
        hint: Some(Hint::BuilderLog),
    },
    Cause { kind: Platform, groups: &[&["exec format error"]], hint: Some(Hint::Emulators) },
    // Of what the rule grants.
    Cause { kind: Dockerfile, groups: &[&["no ssh key", "forwarded from the client"]], hint: Some(Hint::NoSshKey) },
    Cause { kind: Dockerfile, groups: &[&["network.host is not allowed"]], hint: Some(Hint::HostNetwork) },
    Cause {
        kind: Settings,
        groups: &[&["granting entitlement", "is not allowed by build daemon configuration"]],
        hint: Some(Hint::BuilderHostNetwork),
    },
    Cause {
        kind: Dockerfile,
        groups: &[&["security.insecure is not allowed"], &["entitlement", "is not allowed"]],
        hint: Some(Hint::Insecure),
    },
    Cause { kind: Dockerfile, groups: &[&["source denied by policy"]], hint: Some(Hint::AddAddress) },
    Cause { kind: Dockerfile, groups: &[&["is not an allowed gateway source"]], hint: Some(Hint::FrontendNotAllowed) },
    // Of the Dockerfile.
    Cause {
        kind: Dockerfile,
        groups: &[&["failed to read dockerfile", "no such file or directory"]],
        hint: Some(Hint::NoDockerfile),
    },
    Cause {
        kind: Dockerfile,
        groups: &[&["failed to calculate checksum of ref", ": not found"], &["lstat", "no such file or directory"]],
        hint: Some(Hint::NotInContext),
    },
    Cause {
        kind: Dockerfile,
        groups: &[
            &["dockerfile parse error"],
            &["lint violation found"],
            &["unknown instruction"],
            &["invalid reference format"],
            &["failed to parse stage name"],
            &["should not be blank"],
            &["target stage", "could not be found"],
            &["circular dependency detected"],
            &["file with no instructions"],
            &["dockerfile cannot be empty"],
            &["no build stage in current context"],
            &["failed to process \""],
            &["unsupported frontend capability"],
            &["not a regular file"],
            &["too many links"],
            &["unsupported digest algorithm"],
            &["invalid checksum digest format"],
        ],
        hint: None,
    },
    // Of git. `could not read from remote repository` ends ssh errors of every kind, so what comes before it decides.
    Cause {
        kind: Credentials,
        groups: &[
            &["authentication failed for"],
            &["could not read username"],
            &["could not read password"],
            &["terminal prompts disabled"],
            &["permission denied (publickey"],
            &["http basic: access denied"],
            &["invalid username or"],
            &["git stderr", "returned error: 401"],
            &["git stderr", "returned error: 403"],
        ],
        hint: Some(Hint::GitLogin),
    },
    Cause {
        kind: Credentials,
        groups: &[&["host key verification failed"], &["no configured known hosts forwarded"]],
        hint: Some(Hint::HostKey),
    },
    Cause {
        kind: Network,
        groups: &[
            &["could not resolve host"],
            &["git stderr", "failed to connect"],
            &["git stderr", "couldn't connect"],
            &["git stderr", "connection refused"],
            &["git stderr", "timed out"],
            &["git stderr", "returned error: 5"],
            &["remote end hung up unexpectedly"],
            &["early eof"],
            &["ssh: connect to host"],
            &["connection closed by remote host"],
        ],
        hint: Some(Hint::SourceUnreachable),
    },
    Cause {
        kind: NoCommit,
        groups: &[
            &["couldn't find remote ref"],
            &["not our ref"],
            &["unadvertised object"],
            &["reference is not a tree"],
        ],
        hint: Some(Hint::RefMoved),
    },
    Cause {
        kind: Source,
        groups: &[
            &["repository does not contain ref"],
            &["does not match expected commit"],
            &["expected checksum to match"],
            &["repository not found"],
            &["repository", "not found", "git stderr"],
            &["does not appear to be a git repository"],
            &["could not find default branch"],
            &["access denied or repository not exported"],
            &["failed to open subdir"],
            &["invalid subdir"],
            &["git subpath"],
        ],
        hint: Some(Hint::CheckSource),
    },
    Cause {
        kind: Certificate,
        groups: &[&["x509:"], &["tls: failed to verify"], &["ssl certificate problem"]],
        hint: Some(Hint::NameCa),
    },
    Cause { kind: Certificate, groups: &[&["server gave http response to https client"]], hint: Some(Hint::PlainHttp) },
    Cause {
        kind: Certificate,
        groups: &[&["client sent an http request to an https server"]],
        hint: Some(Hint::SpeaksTls),
    },
    // Of registries.
    Cause {
        kind: Registry,
        groups: &[&["status=429"], &["toomanyrequests"], &["too many requests"]],
        hint: Some(Hint::TooManyRequests),
    },
    Cause { kind: Dockerfile, groups: &[&["no match for platform in manifest"]], hint: Some(Hint::NoBaseForPlatform) },
    Cause {
        kind: Credentials,
        groups: &[
            &["status=401"],
            &["status=403"],
            &["401 unauthorized"],
            &["403 forbidden"],
            &["unauthorized:"],
            &["denied:"],
            // BuildKit prints an error without a text of its own as its code alone.
            &["failed to push", ": unauthorized"],
            &["failed to push", ": denied"],
            &["pull access denied"],
            &["access denied"],
            &["insufficient_scope"],
            &["insufficient scope"],
            &["authorization failed"],
            &["authentication required"],
            &["no basic auth credentials"],
            &["invalid authorization"],
            &["incorrect username or password"],
        ],
        hint: Some(Hint::RegistryLogin),
    },
    Cause {
        kind: Dockerfile,
        groups: &[
            &["failed to resolve source metadata", ": not found"],
            &["failed to resolve source metadata", "manifest unknown"],
        ],
        hint: Some(Hint::NoBase),
    },
    Cause {
        kind: Network,
        groups: &[
            &["dial tcp"],
            &["dial udp"],
            &["no such host"],
            &["i/o timeout"],
            &["connection refused"],
            &["connection reset by peer"],
            &["connection timed out"],
            &["broken pipe"],
            &["tls handshake timeout"],
            &["network is unreachable"],
            &["no route to host"],
            &["temporary failure in name resolution"],
            &["server misbehaving"],
            &["client.timeout exceeded"],
            &["context deadline exceeded"],
            &["proxyconnect"],
            &["http2: "],
            &["unexpected eof"],
        ],
        hint: Some(Hint::HostUnreachable),
    },
    // What a registry refuses for good. Statuses that pass (408, 429, 5xx) stand in the row after these.
    Cause {
        kind: RegistryRefused,
        groups: &[
            &["failed to push", "name unknown"],
            &["failed to push", "name_unknown"],
            &["failed to push", "repository", "does not exist"],
            &["failed to push", "repository", "not found"],
            &["failed to push", "status=404"],
        ],
        hint: Some(Hint::MakeRepository),
    },
    Cause {
        kind: RegistryRefused,
        groups: &[&["failed to push", "status=413"], &["failed to push", "entity too large"]],
        hint: Some(Hint::LayerLimit),
    },
    Cause {
        kind: RegistryRefused,
        groups: &[
            &["failed to push", "status=400"],
            &["failed to push", "status=405"],
            &["failed to push", "status=406"],
            &["failed to push", "status=409"],
            &["failed to push", "status=410"],
            &["failed to push", "status=412"],
            &["failed to push", "status=415"],
            &["failed to push", "status=422"],
            &["failed to push", ": unsupported"],
            &["failed to push", "manifest invalid"],
            &["failed to push", "manifest_invalid"],
            &["failed to push", "tag invalid"],
            &["failed to push", "name invalid"],
        ],
        hint: Some(Hint::RegistrySettings),
    },
    Cause {
        kind: Registry,
        groups: &[
            &["500 internal server error"],
            &["502 bad gateway"],
            &["503 service unavailable"],
            &["504 gateway time"],
            &["unexpected status"],
            &["failed to push"],
            &["blob upload"],
            &["failed to lock"],
            &["could not lock"],
            &["failed to copy"],
        ],
        hint: None,
    },
    Cause { kind: Source, groups: &[&["failed to fetch remote"], &["git stderr"]], hint: None },
    // A daemon that was stopped in order.
    Cause {
        kind: Daemon,
        groups: &[&["code = unavailable"], &["graceful_stop"], &["failed to get status"]],
        hint: None,
    },
];
