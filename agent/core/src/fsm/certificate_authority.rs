//! Commands that change the certificate authority.

use std::sync::Arc;

use lictor_api::types::connect::{BuiltinCaConfig, CaRoot};
use serde::{Deserialize, Serialize};

use super::{Rejection, Response};
use crate::state::{
    CertificateAuthority, State, Topic, certificate_authority::PrivateKeyPem, watch::Touched,
};

/// A change to the authority. Keys and certificates are made by the proposer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CaCommand {
    /// Make the first authority; without effect when there is one.
    Initialize {
        /// UUID of the trust domain.
        cluster_id: String,
        /// Settings.
        config: BuiltinCaConfig,
        /// The first root.
        root: CaRoot,
        /// Its key.
        signing_key: PrivateKeyPem,
    },
    /// Change settings that need no new root.
    Configure {
        /// Settings.
        config: BuiltinCaConfig,
    },
    /// Make a new root the active one; the old ones stay trusted.
    Rotate {
        /// Settings.
        config: BuiltinCaConfig,
        /// The new root, with the old root's signature among its intermediates.
        root: CaRoot,
        /// Its key.
        signing_key: PrivateKeyPem,
    },
}

pub(super) fn apply(
    state: &mut State,
    index: u64,
    command: CaCommand,
    touched: &mut Touched,
) -> Response {
    if let CaCommand::Initialize { cluster_id, config, root, signing_key } = command {
        if state.ca.is_some() {
            return Response::Applied(false);
        }
        state.ca = Some(Arc::new(CertificateAuthority {
            cluster_id,
            config,
            roots: vec![CaRoot { active: true, create_index: index, modify_index: index, ..root }],
            signing_key,
            create_index: index,
            config_index: index,
            roots_index: index,
        }));
        touched.touch(Topic::Roots);
        return Response::Applied(true);
    }
    let Some(old) = &state.ca else { return Response::Rejected(Rejection::NoAuthority) };
    let mut ca = (**old).clone();
    ca.config_index = index;
    match command {
        CaCommand::Initialize { .. } => {}
        CaCommand::Configure { config } => ca.config = config,
        CaCommand::Rotate { config, root, signing_key } => {
            ca.config = config;
            ca.signing_key = signing_key;
            for old in &mut ca.roots {
                if old.active {
                    old.active = false;
                    old.modify_index = index;
                }
            }
            ca.roots.push(CaRoot {
                active: true,
                create_index: index,
                modify_index: index,
                ..root
            });
            ca.roots_index = index;
            touched.touch(Topic::Roots);
        }
    }
    state.ca = Some(Arc::new(ca));
    Response::Applied(true)
}
