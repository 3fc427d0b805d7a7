//! Authorization: every path that reads or changes something calls [`Authorizer::authorize`].
//!
//! There are no ACL tokens yet, so every caller has every permission but one: where the servers run
//! in Kubernetes, the rows that identities are derived from (instances of pods, virtual nodes,
//! intentions) may be written only by the operator and from the server's own loopback.

use lictor_api::{NodeName, ServiceName};

/// Identity of a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Caller {
    /// A caller without a credential.
    #[default]
    Anonymous,
    /// A caller without a credential on the agent's own loopback interface or inside the process.
    Local,
    /// The Kubernetes operator, identified by its reviewed token.
    Operator,
}

/// The access that a request needs. Names are those of the rows that it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access<'a> {
    /// Read or change a key; for a prefix operation, the prefix.
    Key {
        /// The key or prefix.
        key: &'a str,
        /// True for a change.
        write: bool,
    },
    /// Read or change a service's instances.
    Service {
        /// The service.
        name: &'a ServiceName,
        /// True for a change.
        write: bool,
        /// The instance represents a Kubernetes pod (meta `pod-uid`).
        of_pod: bool,
    },
    /// Read or change a node.
    Node {
        /// The node.
        name: &'a NodeName,
        /// True for a change.
        write: bool,
        /// The node is the operator's (meta `synthetic-node`).
        synthetic: bool,
    },
    /// Read or change the intentions of a destination.
    Intention {
        /// The destination.
        destination: &'a str,
        /// True for a change.
        write: bool,
    },
    /// Read or change the sessions of a node.
    Session {
        /// The node.
        node: &'a str,
        /// True for a change.
        write: bool,
    },
    /// Obtain a certificate in a service's name.
    Leaf {
        /// The service.
        service: &'a str,
    },
    /// Read or change this agent: members, reload, leave, maintenance.
    Agent {
        /// True for a change.
        write: bool,
    },
    /// Read or change the cluster's operation: the certificate authority, Raft, autopilot.
    Operator {
        /// True for a change.
        write: bool,
    },
}

/// Permission denied. The text is Consul's, with the missing permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Permission denied: anonymous token lacks permission '{permission}'. The anonymous token is used implicitly when a request does not specify a token."
)]
pub struct PermissionDenied {
    /// The missing permission, for example `service:write` on "web".
    pub permission: String,
}

/// Decides whether callers have permissions.
#[derive(Debug, Clone, Default)]
pub struct Authorizer {
    /// True when the operator's part of the catalog is reserved to it.
    kubernetes: bool,
}

impl Authorizer {
    /// Creates an authorizer; `kubernetes` is true when the servers run in a cluster with an
    /// operator.
    pub fn new(kubernetes: bool) -> Self {
        Self { kubernetes }
    }

    /// Checks `caller`'s permission for `access`.
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
