//! One running agent: everything the endpoints reach, and nothing that decides.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{acl::Authorizer, config::RuntimeConfig, server::Server};

/// The parts of an agent that requests are answered from.
pub struct Agent {
    /// The configuration in force; swapped by a reload.
    pub config: ArcSwap<RuntimeConfig>,
    /// The cluster's state and consensus.
    pub server: Arc<Server>,
    /// The one gate.
    pub authorizer: Authorizer,
}
