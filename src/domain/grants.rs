//! What one build may have beyond the tree of its commit: its rule's keys over its namespace's, and what forbids
//! building it.

use super::grant_keys::{NetworkMode, SecretRefs};
use super::namespace::Namespace;
use super::rule::{Rule, RuleError};
use super::secret_arg;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// A grant that the namespace does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The namespace does not allow the host's network.
    HostNetwork {
        /// The namespace.
        namespace: String,
    },
}

display_as_reason!(GrantError);

impl AsReason for GrantError {
    fn reason(&self) -> Reason {
        match self {
            GrantError::HostNetwork { namespace } => {
                reason!("grant.host_network", namespace = quoted(namespace), namespace_2 = namespace)
            }
        }
    }
}

/// What one build may have: its rule's grants over its namespace's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// The secrets, by id.
    pub secrets: SecretRefs,
    /// Files under `secrets/` with the private keys of the build's ssh agent.
    pub ssh: Vec<String>,
    /// The network of its commands.
    pub network_mode: NetworkMode,
}

impl Grants {
    /// What a rule of a namespace grants. An id that both name is the rule's; the keys of both are in the agent.
    ///
    /// # Errors
    /// When the rule wants the host's network and the namespace does not allow it.
    pub fn of(name: &str, namespace: &Namespace, rule: &Rule) -> Result<Grants, GrantError> {
        let mut secrets = namespace.secrets.clone();
        secrets.extend(rule.secrets.clone());
        let mut ssh = namespace.ssh.clone();
        ssh.extend(rule.ssh.iter().filter(|key| !namespace.ssh.contains(key)).cloned());
        Ok(Grants { secrets, ssh, network_mode: Grants::network_mode(name, namespace, rule)? })
    }

    /// The network of a rule's commands: its own mode, else its namespace's.
    ///
    /// # Errors
    /// When that is the host's network and the namespace does not allow it.
    pub fn network_mode(name: &str, namespace: &Namespace, rule: &Rule) -> Result<NetworkMode, GrantError> {
        match rule.network_mode.unwrap_or(namespace.network_mode) {
            NetworkMode::Host if !namespace.allow_host_network => {
                Err(GrantError::HostNetwork { namespace: name.to_owned() })
            }
            mode => Ok(mode),
        }
    }
}

/// What forbids saving a rule in a namespace, and building it, beyond [`Rule::problems`]. A file that an older slipway
/// wrote still loads with these, and its builds are refused with the reason.
pub fn forbidden(name: &str, namespace: &Namespace, rule: &Rule) -> Vec<RuleError> {
    let error = |field, reason: Reason| RuleError { rule: rule.name.clone(), field, reason };
    let args = secret_arg::problems(&rule.args, &rule.plain_args);
    let mut problems: Vec<RuleError> = args.into_iter().map(|problem| error("args", problem.into())).collect();
    problems.extend(Grants::of(name, namespace, rule).err().map(|problem| error("network_mode", problem.into())));
    // Clients find no image by its tag in a layout where it is not OCI's.
    if namespace.is_local() && !rule.format.is_oci() {
        problems.push(error("format", reason!("output.docker_needs_registry", namespace = name)));
    }
    problems
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
