//! Declares every metric once; no other module uses the metrics crates.
//!
//! Labels come from bounded sets: `side`, the configured services, `Class`. Connections are
//! counted when they open and close, so the data path updates no metric. Without
//! [`Metrics::install`] the calls do nothing, unless the embedder has installed a recorder.

use std::time::{SystemTime, UNIX_EPOCH};

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::{
    copy::Bytes,
    outcome::{Class, Side},
};

const OPENED: &str = "lictor_sidecar_connections_opened_total";
const CLOSED: &str = "lictor_sidecar_connections_closed_total";
const OPEN: &str = "lictor_sidecar_connections_open";
const SENT: &str = "lictor_sidecar_sent_bytes_total";
const RECEIVED: &str = "lictor_sidecar_received_bytes_total";
const ENDPOINT_FAILURES: &str = "lictor_sidecar_endpoint_failures_total";
const BIND_FAILURES: &str = "lictor_sidecar_listener_bind_failures_total";
const CERTIFICATE_EXPIRY: &str = "lictor_sidecar_certificate_expiry_timestamp_seconds";
const CERTIFICATES: &str = "lictor_sidecar_certificate_requests_total";
const SERVER_CONNECTED: &str = "lictor_sidecar_server_connected";
const STREAM_FAILURES: &str = "lictor_sidecar_server_stream_failures_total";

/// Renders the metrics of this process as Prometheus text.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of this process; may be called once.
    ///
    /// # Errors
    /// A recorder is installed already.
    pub fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        describe();
        Ok(Self(handle))
    }

    /// Returns the metrics in Prometheus text format.
    pub(crate) fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

fn describe() {
    describe_counter!(OPENED, "Connections accepted, by side");
    describe_counter!(CLOSED, "Connections ended, by side, destination service and result");
    describe_gauge!(OPEN, "Connections open now, by side");
    describe_counter!(
        SENT,
        Unit::Bytes,
        "Bytes from the client to the service, of ended connections"
    );
    describe_counter!(
        RECEIVED,
        Unit::Bytes,
        "Bytes from the service to the client, of ended connections"
    );
    describe_counter!(
        ENDPOINT_FAILURES,
        "Attempts that failed and set an endpoint aside, by service"
    );
    describe_counter!(BIND_FAILURES, "Listeners that could not be opened");
    describe_gauge!(CERTIFICATE_EXPIRY, "End of the current certificate's life, Unix time");
    describe_counter!(CERTIFICATES, "Certificates asked for, by result");
    describe_gauge!(SERVER_CONNECTED, "1 while the configuration stream is open");
    describe_counter!(STREAM_FAILURES, "Configuration streams that broke or could not be opened");
}

pub(crate) fn connection_opened(side: Side) {
    counter!(OPENED, "side" => side.as_str()).increment(1);
    gauge!(OPEN, "side" => side.as_str()).increment(1.0);
}

pub(crate) fn connection_closed(side: Side, service: &str, class: Class, bytes: Bytes) {
    let side = side.as_str();
    gauge!(OPEN, "side" => side).decrement(1.0);
    counter!(CLOSED, "side" => side, "service" => service.to_owned(), "result" => class.as_str())
        .increment(1);
    counter!(SENT, "side" => side, "service" => service.to_owned()).increment(bytes.sent);
    counter!(RECEIVED, "side" => side, "service" => service.to_owned()).increment(bytes.received);
}

pub(crate) fn endpoint_failed(service: &str) {
    counter!(ENDPOINT_FAILURES, "service" => service.to_owned()).increment(1);
}

pub(crate) fn bind_failed() {
    counter!(BIND_FAILURES).increment(1);
}

pub(crate) fn certificate_issued(not_after: SystemTime) {
    counter!(CERTIFICATES, "result" => "ok").increment(1);
    let expiry = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(CERTIFICATE_EXPIRY).set(expiry.as_secs_f64());
}

pub(crate) fn certificate_failed() {
    counter!(CERTIFICATES, "result" => "failed").increment(1);
}

pub(crate) fn server_connected(connected: bool) {
    gauge!(SERVER_CONNECTED).set(if connected { 1.0 } else { 0.0 });
}

pub(crate) fn stream_failed() {
    counter!(STREAM_FAILURES).increment(1);
}
