//! Commands that change the certificate authority.

use std::sync::Arc;

use lictor_api::types::connect::{BuiltinCaConfig, CaRoot};
use serde::{Deserialize, Serialize};

use super::{Rejection, Response};
use crate::state::{
    CertificateAuthority, State, Topic, certificate_authority::PrivateKeyPem, watch::Change,
};

/// A change to the authority. The proposer creates keys and certificates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CaCommand {
    /// Create the first authority; no effect if one exists.
    Initialize {
        /// UUID of the trust domain.
        cluster_id: String,
        /// Settings of the authority.
        config: BuiltinCaConfig,
        /// The first root.
        root: CaRoot,
        /// Key of the root.
        signing_key: PrivateKeyPem,
    },
    /// Change settings that need no new root.
    Configure {
        /// Settings of the authority.
        config: BuiltinCaConfig,
    },
    /// Make a new root the active one; the old ones stay trusted.
    Rotate {
        /// Settings of the authority.
        config: BuiltinCaConfig,
        /// The new root, with the old root's signature among its intermediates.
        root: CaRoot,
        /// Key of the root.
        signing_key: PrivateKeyPem,
    },
}

pub(super) fn apply(state: &mut State, change: &mut Change<'_>, command: CaCommand) -> Response {
    if let CaCommand::Initialize { cluster_id, config, root, signing_key } = command {
        if state.ca.is_some() {
            return Response::Applied(false);
        }
        state.ca = Some(Arc::new(CertificateAuthority {
            cluster_id,
            config,
            roots: vec![CaRoot {
                active: true,
                create_index: change.index,
                modify_index: change.index,
                ..root
            }],
            signing_key,
            create_index: change.index,
            config_index: change.index,
            roots_index: change.index,
        }));
        change.touch(Topic::Roots);
        return Response::Applied(true);
    }
    let Some(old) = &state.ca else { return Response::Rejected(Rejection::NoAuthority) };
    let mut ca = (**old).clone();
    ca.config_index = change.index;
    match command {
        CaCommand::Initialize { .. } => {}
        CaCommand::Configure { config } => ca.config = config,
        CaCommand::Rotate { config, root, signing_key } => {
            ca.config = config;
            ca.signing_key = signing_key;
            for old in &mut ca.roots {
                if old.active {
                    old.active = false;
                    old.modify_index = change.index;
                }
            }
            ca.roots.push(CaRoot {
                active: true,
                create_index: change.index,
                modify_index: change.index,
                ..root
            });
            ca.roots_index = change.index;
            change.touch(Topic::Roots);
        }
    }
    state.ca = Some(Arc::new(ca));
    Response::Applied(true)
}
