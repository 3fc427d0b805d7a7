//! Serves probes and metrics: `/healthz`, `/readyz`, `/metrics` on plain HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::StatusCode;
use hyper::{Request, body::Incoming};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::net::{Handler, HttpResponse, text};

/// Whether the webhook can be called: its certificate is served and `caBundle` is set.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether the webhook can be called.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Returns whether the webhook can be called.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The handler of the three endpoints.
pub struct Health {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub metrics: PrometheusHandle,
}

impl Handler for Health {
    async fn respond(&self, request: Request<Incoming>) -> HttpResponse {
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.readiness.get() => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the webhook's certificate is not set up\n")
            }
            "/metrics" => text(StatusCode::OK, self.metrics.render()),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}
