//! The gRPC services, as one router that the HTTP server's listeners dispatch to.
//!
//! Like HTTP's, the handlers see no socket: the listener notes the peer in the request's
//! extensions.

mod identity;
mod mesh;
mod subject;

use std::sync::Arc;

use lictor_api::mesh::v1::mesh_server::MeshServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::agent::Agent;

/// The largest request: a certificate request and some hundred upstreams fit many times.
const MAX_REQUEST: usize = 256 * 1024;

/// Every gRPC service of this agent. Streams end at `shutdown`.
pub fn service(agent: Arc<Agent>, shutdown: CancellationToken) -> Routes {
    let mesh = MeshServer::new(mesh::Mesh::new(agent, shutdown));
    Routes::new(mesh.max_decoding_message_size(MAX_REQUEST))
}

#[cfg(test)]
mod tests;
