//! Names to addresses: the only module that uses hickory-resolver.
//!
//! Static binaries have no NSS, so libc is not asked. The resolver reads `/etc/resolv.conf` and
//! `/etc/hosts` at every lookup: lookups happen at reconnects, when the network may have changed,
//! and an idle resolver would only hold memory. Nothing is cached here.

use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{TokioResolver, config::LookupIpStrategy, net::NetError};

/// A name could not be turned into addresses.
#[derive(Debug, thiserror::Error)]
#[error("looking up {host:?}")]
pub(crate) struct LookupError {
    host: String,
    source: NetError,
}

const TIMEOUT: Duration = Duration::from_secs(2);

/// All addresses of `host`, which may be an IP address itself.
///
/// # Errors
/// The name does not exist, or no DNS server answers.
pub(crate) async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |source| LookupError { host: host.to_owned(), source };
    let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
    let options = builder.options_mut();
    options.timeout = TIMEOUT;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let answer = builder.build().map_err(failed)?.lookup_ip(host).await.map_err(failed)?;
    Ok(answer.iter().map(|ip| SocketAddr::new(ip, port)).collect())
}
