//! UDP checks: an empty datagram that is not refused is a success; no response is required.

use std::time::Duration;

use lictor_api::types::agent::CheckDefinition;
use tokio::{net::UdpSocket, time::timeout};

use super::Outcome;
use crate::dial::Dialer;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends one datagram and waits for a response or a refusal.
pub(super) async fn run(definition: &CheckDefinition, dialer: &Dialer) -> Outcome {
    let address = &definition.udp;
    let limit = if definition.timeout.is_zero() { DEFAULT_TIMEOUT } else { definition.timeout.0 };
    let refused = |error: std::io::Error| {
        format!("read udp {address}: {}", crate::dial::refusal("", &error).trim_start())
    };
    let exchange = async {
        let target = *dialer.resolve("udp", address).await?.first().ok_or("no address")?;
        let local = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local).await.map_err(refused)?;
        socket.connect(target).await.map_err(refused)?;
        socket.send(&[]).await.map_err(refused)?;
        socket.recv(&mut [0; 1]).await.map_err(refused)
    };
    match timeout(limit, exchange).await {
        Ok(Err(error)) => Outcome::critical(error),
        Ok(Ok(_)) | Err(_) => Outcome::passing(format!("UDP connect {address}: Success")),
    }
}
