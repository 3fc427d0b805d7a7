//! Builds the addresses that the agent listens on and advertises.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use lictor_api::contract::GRPC_TLS_PORT;

use super::{
    ConfigError, is_private,
    runtime::Listen,
    source::{Ports, Source},
};

/// Parses one IP address.
pub(super) fn parse_ip(key: &str, text: &str) -> Result<IpAddr, ConfigError> {
    if text.contains("{{") {
        return Err(ConfigError::invalid(
            key,
            format!("{text:?}: address templates are not supported yet; give an IP address"),
        ));
    }
    text.parse().map_err(|_| ConfigError::invalid(key, format!("{text:?} is not an IP address")))
}

/// Returns an address to listen on; loopback with `-dev` and all addresses otherwise when not
/// given.
pub(super) fn ip(key: &str, text: Option<&str>, dev: bool) -> Result<IpAddr, ConfigError> {
    match text {
        Some(text) => parse_ip(key, text),
        None if dev => Ok(Ipv4Addr::LOCALHOST.into()),
        None => Ok(Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// The addresses at which other agents reach this agent.
pub(super) struct Advertised {
    pub(super) lan: IpAddr,
    pub(super) wan: IpAddr,
}

/// Returns the given addresses, with `_ipv4` and `_ipv6` as the second and third choice; the WAN
/// address is the LAN address unless one is given.
pub(super) fn advertised(source: &Source, bind: IpAddr) -> Result<Advertised, ConfigError> {
    let lan = [
        ("advertise_addr", &source.advertise_addr),
        ("advertise_addr_ipv4", &source.advertise_addr_ipv4),
        ("advertise_addr_ipv6", &source.advertise_addr_ipv6),
    ];
    let wan = [
        ("advertise_addr_wan", &source.advertise_addr_wan),
        ("advertise_addr_wan_ipv4", &source.advertise_addr_wan_ipv4),
        ("advertise_addr_wan_ipv6", &source.advertise_addr_wan_ipv6),
    ];
    let lan = match first_given(lan)? {
        Some(address) => address,
        None => own_address(bind)?,
    };
    let wan = first_given(wan)?.unwrap_or(lan);
    Ok(Advertised { lan, wan })
}

/// Returns the first address that is given; validates all of them.
fn first_given(choices: [(&str, &Option<String>); 3]) -> Result<Option<IpAddr>, ConfigError> {
    let mut first = None;
    for (key, text) in choices {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { continue };
        let address = parse_ip(key, text)?;
        if address.is_unspecified() {
            return Err(ConfigError::invalid(key, format!("cannot be {address}")));
        }
        let matches = match key {
            _ if key.ends_with("_ipv4") => address.is_ipv4(),
            _ if key.ends_with("_ipv6") => address.is_ipv6(),
            _ => true,
        };
        if !matches {
            return Err(ConfigError::invalid(key, format!("{address} is of the other family")));
        }
        first = first.or(Some(address));
    }
    Ok(first)
}

/// Returns `bind` unless it is unspecified; then the machine's only private IPv4 address.
fn own_address(bind: IpAddr) -> Result<IpAddr, ConfigError> {
    if !bind.is_unspecified() {
        return Ok(bind);
    }
    let private = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| Some(IpAddr::from(interface.address?.as_sockaddr_in()?.ip())))
        .filter(is_private)
        .collect();
    only(private)
}

/// Returns the only private address of a machine.
///
/// # Errors
/// There is none, or there are several, among which the operator has to choose.
pub(super) fn only(mut private: Vec<IpAddr>) -> Result<IpAddr, ConfigError> {
    private.sort();
    private.dedup();
    match private[..] {
        [] => Err(ConfigError::NoPrivateAddress),
        [address] => Ok(address),
        _ => Err(ConfigError::ManyPrivateAddresses),
    }
}

/// Returns the given or the default port; `None` if it is 0 or less, which turns it off.
pub(super) fn port(
    key: &str,
    given: Option<i32>,
    default: i32,
) -> Result<Option<u16>, ConfigError> {
    match given.unwrap_or(default) {
        port if port <= 0 => Ok(None),
        port => u16::try_from(port).map(Some).map_err(|_| {
            ConfigError::invalid(
                key,
                format!("{port} is not a port; use 1 to 65535, or -1 to turn it off"),
            )
        }),
    }
}

/// Returns a port that cannot be turned off.
pub(super) fn needed_port(key: &str, given: Option<i32>, default: i32) -> Result<u16, ConfigError> {
    port(key, given, default)?.ok_or_else(|| {
        ConfigError::invalid(
            key,
            format!("is {}; agents need it, so it must be 1 to 65535", given.unwrap_or(default)),
        )
    })
}

/// Returns the ports for sidecars; empty when either end is 0 or less.
pub(super) fn sidecar_ports(ports: &Ports) -> Result<RangeInclusive<u16>, ConfigError> {
    let min = port("ports.sidecar_min_port", ports.sidecar_min_port, 21000)?;
    let max = port("ports.sidecar_max_port", ports.sidecar_max_port, 21255)?;
    let (Some(min), Some(max)) = (min, max) else { return Ok(RangeInclusive::new(1, 0)) };
    if min > max {
        return Err(ConfigError::invalid(
            "ports.sidecar_min_port",
            format!("is {min}, greater than sidecar_max_port, which is {max}"),
        ));
    }
    Ok(min..=max)
}

/// Returns the addresses that each protocol listens on.
pub(super) fn listen(source: &Source, server: bool, dev: bool) -> Result<Listen, ConfigError> {
    let client = source.client_addr.as_deref().unwrap_or("127.0.0.1");
    let (addresses, ports) = (&source.addresses, &source.ports);
    let tcp = |key: &str,
               given: &Option<String>,
               port: Option<u16>|
     -> Result<Vec<SocketAddr>, ConfigError> {
        let Some(port) = port else { return Ok(Vec::new()) };
        let (key, text) = match given.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => (format!("addresses.{key}"), text),
            None => ("client_addr".to_owned(), client),
        };
        text.split_whitespace()
            .filter(|address| !address.starts_with("unix://"))
            .map(|address| Ok(SocketAddr::new(parse_ip(&key, address)?, port)))
            .collect()
    };
    let http_port = port("ports.http", ports.http, 8500)?;
    let http_text = addresses.http.as_deref().filter(|text| !text.is_empty()).unwrap_or(client);
    let http_unix = http_text
        .split_whitespace()
        .filter_map(|address| address.strip_prefix("unix://"))
        .filter(|_| http_port.is_some())
        .map(PathBuf::from)
        .collect();
    Ok(Listen {
        http: tcp("http", &addresses.http, http_port)?,
        http_unix,
        https: tcp("https", &addresses.https, port("ports.https", ports.https, -1)?)?,
        grpc: tcp(
            "grpc",
            &addresses.grpc,
            port("ports.grpc", ports.grpc, if dev { 8502 } else { -1 })?,
        )?,
        grpc_tls: tcp(
            "grpc_tls",
            &addresses.grpc_tls,
            port(
                "ports.grpc_tls",
                ports.grpc_tls,
                if server { i32::from(GRPC_TLS_PORT) } else { -1 },
            )?,
        )?,
        dns: tcp("dns", &addresses.dns, port("ports.dns", ports.dns, 8600)?)?,
    })
}
