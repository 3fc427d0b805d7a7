//! TCP checks: a connection is a success, with a TLS handshake if the check requires it.

use std::time::Duration;

use lictor_api::types::agent::CheckDefinition;
use tokio::time::timeout;

use super::Outcome;
use crate::dial::Dialer;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects once.
pub(super) async fn run(definition: &CheckDefinition, dialer: &Dialer) -> Outcome {
    let address = &definition.tcp;
    let limit = if definition.timeout.is_zero() { DEFAULT_TIMEOUT } else { definition.timeout.0 };
    let connect = async {
        let stream = dialer.connect_tcp(address).await?;
        if definition.tcp_use_tls {
            dialer.start_tls(stream, address, definition).await?;
        }
        Ok::<_, String>(())
    };
    match timeout(limit, connect).await {
        Ok(Ok(())) => Outcome::passing(format!("TCP connect {address}: Success")),
        Ok(Err(error)) => Outcome::critical(error),
        Err(_) => Outcome::critical(format!("dial tcp {address}: i/o timeout")),
    }
}
