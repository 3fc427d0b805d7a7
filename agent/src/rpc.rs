//! The gRPC services, as one router that the HTTP server's listeners dispatch to.
//!
//! Like HTTP's, the handlers see no socket: the listener records the peer in the request's
//! extensions.

pub mod auto_encrypt;
mod forward;
mod identity;
mod mesh;
mod peer;
mod relay;
mod subject;

use std::sync::Arc;

use lictor_api::{
    mesh::v1::mesh_server::MeshServer,
    server::v1::{
        auto_encrypt_server::AutoEncryptServer, forward_server::ForwardServer,
        peer_server::PeerServer,
    },
};
use lictor_transport::{MAX_COMMAND_BYTES, MAX_REQUEST_BYTES};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{agent::Agent, server::Server};

/// The largest request: several times the size of a CSR with a few hundred upstreams.
const MAX_CONFIGURATION_BYTES: usize = 256 * 1024;

/// Returns the services on the server RPC port.
pub fn server_services(
    agent: &Arc<Agent>,
    server: &Arc<Server>,
    shutdown: &CancellationToken,
) -> Routes {
    let forward = ForwardServer::new(forward::Forward::new(agent.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_REQUEST_BYTES);
    let mesh = MeshServer::new(mesh::Mesh::new(agent.clone(), shutdown.clone()));
    let auto_encrypt = AutoEncryptServer::new(auto_encrypt::AutoEncrypt::new(agent.clone()));
    consensus_services(server)
        .add_service(forward)
        .add_service(mesh.max_decoding_message_size(MAX_CONFIGURATION_BYTES))
        .add_service(auto_encrypt.max_decoding_message_size(MAX_CONFIGURATION_BYTES))
}

/// Returns the services that servers call on each other.
pub(crate) fn consensus_services(server: &Arc<Server>) -> Routes {
    let peer = PeerServer::new(peer::Peer::new(server.clone()))
        .max_decoding_message_size(MAX_COMMAND_BYTES)
        .max_encoding_message_size(MAX_COMMAND_BYTES);
    Routes::new(server.consensus().service()).add_service(peer)
}

/// Returns every gRPC service of this agent for its clients. Streams end at `shutdown`.
pub fn service(agent: Arc<Agent>, shutdown: CancellationToken) -> Routes {
    if agent.server().is_none() {
        let relay = MeshServer::new(relay::Relay::new(agent));
        return Routes::new(relay.max_decoding_message_size(MAX_CONFIGURATION_BYTES));
    }
    let mesh = MeshServer::new(mesh::Mesh::new(agent, shutdown));
    Routes::new(mesh.max_decoding_message_size(MAX_CONFIGURATION_BYTES))
}

#[cfg(test)]
mod tests;
