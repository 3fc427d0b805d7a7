//! `lictor.mesh.v1` on a client agent: forwards the calls of local sidecars to a server.
//!
//! The proxy of a request is resolved here, where it is registered; the server does the rest. A
//! broken stream ends the sidecar's stream, which reconnects, perhaps to another server.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use lictor_api::mesh::{
    ACL_TOKEN, AUTHORIZATION,
    v1::{
        SignRequest, SignResponse, WatchRequest, WatchResponse, mesh_client::MeshClient,
        mesh_server, watch_request::Subject,
    },
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use lictor_transport::connections::Connection;

use super::subject;
use crate::agent::Agent;

/// The service.
pub(super) struct Relay {
    agent: Arc<Agent>,
}

impl Relay {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    async fn client(&self) -> Result<MeshClient<Connection>, Status> {
        let datacenter = self.agent.config.load().datacenter.clone();
        let (_, connection) = self
            .agent
            .forwarder
            .connect(&datacenter)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(MeshClient::new(connection))
    }
}

#[tonic::async_trait]
impl mesh_server::Mesh for Relay {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let mut client = self.client().await?;
        client.sign(forwarded(request)).await
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut request = request;
        let message = request.get_mut();
        if let Some(id) = subject::local_proxy(&self.agent, message.subject.as_ref())? {
            message.subject = Some(Subject::ProxyId(id));
        }
        message.node = self.agent.config.load().node_name.clone();
        let mut client = self.client().await?;
        let stream = client.watch(forwarded(request)).await?.into_inner();
        Ok(Response::new(Box::pin(stream)))
    }
}

/// Returns the request to forward, with the caller's credentials and no other metadata.
fn forwarded<T>(request: Request<T>) -> Request<T> {
    let (metadata, _, message) = request.into_parts();
    let mut credentials = MetadataMap::new();
    for key in [AUTHORIZATION, ACL_TOKEN] {
        if let Some(value) = metadata.get(key) {
            credentials.insert(key, value.clone());
        }
    }
    let mut request = Request::new(message);
    *request.metadata_mut() = credentials;
    request
}
