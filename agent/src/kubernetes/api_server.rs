//! Client of the API server from inside of a pod.
//!
//! kube finds addresses, roots and namespace; the HTTP client that lictor has anyway sends the
//! requests. kube's own client also reads a `KUBECONFIG` with its YAML, templates and plugins,
//! which a server in a pod does not have: a megabyte of code.

use std::{
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{
    HeaderValue, Request, Response, Uri,
    header::AUTHORIZATION,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::client::Body;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::KubernetesError;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates a client of the API server with the credentials of this pod; returns it with the pod's
/// namespace. Sends nothing yet.
///
/// # Errors
/// [`KubernetesError::Config`] outside of a pod, [`KubernetesError::Client`] for unusable
/// credentials.
pub(super) fn connect() -> Result<(kube::Client, String), KubernetesError> {
    let config =
        kube::Config::incluster().map_err(|error| KubernetesError::Config(Box::new(error)))?;
    let unusable = |error: BoxError| KubernetesError::Client(error);
    let mut roots = RootCertStore::empty();
    for certificate in config.root_cert.into_iter().flatten() {
        roots.add(certificate.into()).map_err(|error| unusable(error.into()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    let server = config.cluster_url.into_parts();
    let (Some(scheme), Some(authority)) = (server.scheme, server.authority) else {
        return Err(unusable("the API server's address is not a URL".into()));
    };
    let service = ApiServer {
        client: Client::builder(TokioExecutor::new()).build(connector),
        scheme,
        authority,
        token: config.auth_info.token_file.map(PathBuf::from),
    };
    let namespace = config.default_namespace;
    Ok((kube::Client::new(service, namespace.clone()), namespace))
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Sends kube's requests with the pod's token, which is read each time because it is replaced every
/// hour.
struct ApiServer {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    scheme: Scheme,
    authority: Authority,
    token: Option<PathBuf>,
}

impl Service<Request<Body>> for ApiServer {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (client, token) = (self.client.clone(), self.token.clone());
        let path = request.uri().path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
            .build();
        Box::pin(async move {
            *request.uri_mut() = uri?;
            if let Some(path) = token {
                let token = tokio::fs::read_to_string(path).await?;
                let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
                bearer.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, bearer);
            }
            Ok(client.request(request).await?)
        })
    }
}
