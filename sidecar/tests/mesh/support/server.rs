//! The control plane on a socket.
//!
//! It has its own runtime, so that a test can end it as abruptly as a power cut.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lictor_api::mesh::v1::mesh_server;
use tokio::runtime::Runtime;
use tonic::transport::{Identity, ServerTlsConfig};

use super::{HOUR, control_plane::Mesh};

/// A running control plane; dropping it ends it.
pub(crate) struct Server {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts a control plane whose certificates are valid for `leaf_life`.
    pub(crate) fn start(leaf_life: Duration) -> Self {
        Self::serve(Arc::new(Mesh::new(leaf_life)), (Ipv4Addr::LOCALHOST, 0).into(), None)
    }

    /// Starts a control plane behind TLS, with a certificate for `server.dc1.consul`.
    pub(crate) fn start_tls() -> Self {
        let mesh = Arc::new(Mesh::new(HOUR));
        let (certificate, key) = mesh.ca.server_leaf("server.dc1.consul");
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::serve(mesh, (Ipv4Addr::LOCALHOST, 0).into(), Some(tls))
    }

    /// Ends it and serves again at the same address, with the same state.
    pub(crate) fn restart(&mut self) {
        self.kill();
        *self = Self::serve(Arc::clone(&self.mesh), self.address, None);
    }

    fn serve(mesh: Arc<Mesh>, address: SocketAddr, tls: Option<ServerTlsConfig>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let entered = runtime.enter();
        // tokio's bind sets SO_REUSEADDR, which a restart on the same port needs.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let service = mesh_server::MeshServer::from_arc(Arc::clone(&mesh));
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        runtime.spawn(async move {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            server.add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        drop(entered);
        Self { mesh, address, runtime: Some(runtime) }
    }

    /// Ends it with all its connections.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
