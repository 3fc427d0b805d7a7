//! Where the agent listens and which address it advertises.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use super::{ConfigError, is_private};
use crate::config::{
    runtime::Listen,
    source::{Ports, Source},
};

/// One IP address.
pub(super) fn parse_ip(key: &str, text: &str) -> Result<IpAddr, ConfigError> {
    if text.contains("{{") {
        return Err(ConfigError::invalid(
            key,
            format!("{text:?}: address templates are not supported yet; give an IP address"),
        ));
    }
    text.parse().map_err(|_| ConfigError::invalid(key, format!("{text:?} is not an IP address")))
}

/// `bind_addr`: loopback with `-dev`, all addresses otherwise.
pub(super) fn ip(key: &str, text: Option<&str>, dev: bool) -> Result<IpAddr, ConfigError> {
    match text {
        Some(text) => parse_ip(key, text),
        None if dev => Ok(Ipv4Addr::LOCALHOST.into()),
        None => Ok(Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// The address others use: what was given, else `bind_addr`, else the machine's one private IPv4
/// address.
pub(super) fn advertise(given: Option<&str>, bind: IpAddr) -> Result<IpAddr, ConfigError> {
    if let Some(text) = given {
        let address = parse_ip("advertise_addr", text)?;
        if address.is_unspecified() {
            return Err(ConfigError::invalid("advertise_addr", format!("cannot be {address}")));
        }
        return Ok(address);
    }
    if !bind.is_unspecified() {
        return Ok(bind);
    }
    let mut private: Vec<IpAddr> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| Some(IpAddr::from(interface.address?.as_sockaddr_in()?.ip())))
        .filter(is_private)
        .collect();
    private.dedup();
    match private[..] {
        [] => Err(ConfigError::NoPrivateAddress),
        [address] => Ok(address),
        _ => Err(ConfigError::ManyPrivateAddresses),
    }
}

/// A port: the default when not given, `None` when 0 or less.
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

pub(super) fn sidecar_ports(ports: &Ports) -> Result<RangeInclusive<u16>, ConfigError> {
    let min = port("ports.sidecar_min_port", ports.sidecar_min_port, 21000)?.unwrap_or(0);
    let max = port("ports.sidecar_max_port", ports.sidecar_max_port, 21255)?.unwrap_or(0);
    if min > max {
        return Err(ConfigError::invalid(
            "ports.sidecar_min_port",
            format!("is {min}, greater than sidecar_max_port, which is {max}"),
        ));
    }
    Ok(min..=max)
}

pub(super) fn listen(source: &Source, dev: bool) -> Result<Listen, ConfigError> {
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
            port("ports.grpc_tls", ports.grpc_tls, 8503)?,
        )?,
        dns: tcp("dns", &addresses.dns, port("ports.dns", ports.dns, 8600)?)?,
    })
}
