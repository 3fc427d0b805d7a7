//! The one gate: every path that reads or changes something asks [`Authorizer::authorize`].
//!
//! There are no ACL tokens yet, so everybody may do everything but one thing: where the servers run
//! in Kubernetes, what identities rest on (instances of pods, virtual nodes, intentions) is written
//! by the operator and from the server's own loopback only.

use lictor_api::{NodeName, ServiceName};

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Caller {
    /// No credential.
    #[default]
    Anonymous,
    /// No credential, from the agent's own loopback interface or inside the process.
    Local,
    /// The Kubernetes operator, by its reviewed token.
    Operator,
}

/// What is asked for. Names are those that the request touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access<'a> {
    /// Read or change a key; for a prefix operation, the prefix.
    Key {
        /// The key or prefix.
        key: &'a str,
        /// Whether it changes.
        write: bool,
    },
    /// Read or change a service's instances.
    Service {
        /// The service.
        name: &'a ServiceName,
        /// Whether it changes.
        write: bool,
        /// The instance stands for a Kubernetes pod (meta `pod-uid`).
        of_pod: bool,
    },
    /// Read or change a node.
    Node {
        /// The node.
        name: &'a NodeName,
        /// Whether it changes.
        write: bool,
        /// The node is the operator's (meta `synthetic-node`).
        synthetic: bool,
    },
    /// Read or change the intentions of a destination.
    Intention {
        /// The destination.
        destination: &'a str,
        /// Whether it changes.
        write: bool,
    },
    /// Read or change the sessions of a node.
    Session {
        /// The node.
        node: &'a str,
        /// Whether they change.
        write: bool,
    },
    /// Get a certificate in a service's name.
    Leaf {
        /// The service.
        service: &'a str,
    },
    /// Read or change this agent: members, reload, leave, maintenance.
    Agent {
        /// Whether it changes.
        write: bool,
    },
    /// Read or change the cluster's operation: the certificate authority, Raft, autopilot.
    Operator {
        /// Whether it changes.
        write: bool,
    },
}

/// The caller may not. The text is Consul's, with what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Permission denied: anonymous token lacks permission '{permission}'. The anonymous token is used implicitly when a request does not specify a token."
)]
pub struct PermissionDenied {
    /// For example `service:write` on "web".
    pub permission: String,
}

/// Decides.
#[derive(Debug, Clone, Default)]
pub struct Authorizer {
    /// Whether the operator's part of the catalog is reserved to it.
    kubernetes: bool,
}

impl Authorizer {
    /// `kubernetes`: whether the servers run in a cluster with an operator.
    pub fn new(kubernetes: bool) -> Self {
        Self { kubernetes }
    }

    /// Whether `caller` may.
    ///
    /// # Errors
    /// [`PermissionDenied`] names the missing permission.
    pub fn authorize(&self, caller: &Caller, access: &Access<'_>) -> Result<(), PermissionDenied> {
        if !self.kubernetes || *caller != Caller::Anonymous {
            return Ok(());
        }
        let permission = match access {
            Access::Service { name, write: true, of_pod: true } => {
                format!("service:write\" on \"{name}")
            }
            Access::Node { name, write: true, synthetic: true } => {
                format!("node:write\" on \"{name}")
            }
            Access::Intention { destination, write: true } => {
                format!("intention:write\" on \"{destination}")
            }
            Access::Leaf { service } => format!("service:write\" on \"{service}"),
            Access::Operator { write: true } => "operator:write".to_owned(),
            Access::Agent { write: true } => "agent:write".to_owned(),
            _ => return Ok(()),
        };
        Err(PermissionDenied { permission: permission.replace('"', "'") })
    }
}
