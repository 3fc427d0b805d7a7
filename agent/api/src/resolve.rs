//! Host names to addresses, for every outgoing connection; the only user of hickory-resolver.
//!
//! Static binaries have no NSS, so libc is not asked. `/etc/resolv.conf` and `/etc/hosts` are read
//! at every lookup and nothing is cached: lookups happen when connections are made, and then the
//! network may have changed. A name in `/etc/hosts` is never asked of a server, which the resolver
//! would do for the family that the file lacks, and wait for where there is none.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{TokioResolver, config::LookupIpStrategy, net::NetError};

/// How long one DNS server may take to answer one query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const HOSTS_FILE: &str = "/etc/hosts";

/// A name could not be turned into addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist, or has no addresses. Asking again soon does not help.
    #[error("no such host: {0:?}")]
    NoSuchHost(String),
    /// No DNS server answered, or none is configured. May be retried.
    #[error("looking up {host:?}")]
    Failed {
        /// The name.
        host: String,
        /// What the resolver says.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Returns the addresses of `host` in both families, never none. An IP address, with or without
/// brackets, is its own; `localhost` and names below it are the loopback addresses, whatever files
/// and servers say.
///
/// # Errors
/// The name does not exist, or nothing could be asked.
pub async fn lookup(host: &str) -> Result<Vec<IpAddr>, LookupError> {
    if let Some(known) = known(host) {
        return Ok(known);
    }
    let listed = listed(&std::fs::read_to_string(HOSTS_FILE).unwrap_or_default(), host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    match query(host).await {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Err(error) if !error.is_no_records_found() => {
            Err(LookupError::Failed { host: host.to_owned(), source: Box::new(error) })
        }
        _ => Err(LookupError::NoSuchHost(host.to_owned())),
    }
}

/// Returns the addresses of `host` with `port`, as [`lookup`] does.
///
/// # Errors
/// As [`lookup`].
pub async fn lookup_with_port(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let addresses = lookup(host).await?.into_iter();
    Ok(addresses.map(|address| SocketAddr::new(address, port)).collect())
}

/// Returns the addresses that follow from the name itself.
fn known(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost"))
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// Returns a name's addresses in a hosts file.
fn listed(file: &str, host: &str) -> Vec<IpAddr> {
    let name = host.trim_end_matches('.');
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    file.lines().filter_map(address).collect()
}

/// Asks the system's DNS servers, IPv4 first in the result.
async fn query(host: &str) -> Result<Vec<IpAddr>, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.timeout = QUERY_TIMEOUT;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let found = builder.build()?.lookup_ip(host).await?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_their_own() {
        assert_eq!(lookup("192.0.2.1").await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        for host in ["2001:db8::1", "[2001:db8::1]"] {
            assert_eq!(lookup(host).await.unwrap(), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        }
    }

    #[tokio::test]
    async fn localhost_is_both_loopback_addresses_without_any_file_or_server() {
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for host in ["localhost", "LocalHost.", "app.localhost"] {
            assert_eq!(lookup(host).await.unwrap(), both, "{host}");
        }
        assert!(known("localhost.example").is_none());
        assert!(known("").is_none());
    }

    #[test]
    fn a_hosts_file_lists_names_and_aliases_in_any_case() {
        let file = "# comment\n10.0.0.1 db Primary.example # db2\n\nfd00::1\tdb\nnonsense db\n";
        let addresses = |host: &str| -> Vec<String> {
            listed(file, host).iter().map(ToString::to_string).collect()
        };
        assert_eq!(addresses("db"), ["10.0.0.1", "fd00::1"]);
        assert_eq!(addresses("PRIMARY.example."), ["10.0.0.1"]);
        assert!(addresses("db2").is_empty());
        assert!(addresses("comment").is_empty());
    }
}
