//! Builds the settings of TLS from `tls`, its older spellings, and `auto_encrypt`.
//!
//! A protocol's own block wins, then `tls.defaults`, then the older top-level keys; an older key
//! for one protocol counts as that protocol's own.

use std::path::PathBuf;

use super::{
    ConfigError, addresses,
    runtime::{AutoEncrypt, MinVersion, Tls, TlsProtocol},
    source::{AutoEncryptSource, Source, TlsFiles},
};

pub(super) fn build(source: &Source, auto_encrypt: &AutoEncrypt) -> Result<Tls, ConfigError> {
    let (tls, defaults) = (&source.tls, &source.tls.defaults);
    let legacy = TlsFiles {
        cert_file: source.cert_file.clone(),
        key_file: source.key_file.clone(),
        ca_file: source.ca_file.clone(),
        ca_path: source.ca_path.clone(),
        verify_incoming: source.verify_incoming,
        verify_outgoing: source.verify_outgoing,
        verify_server_hostname: source.verify_server_hostname,
        tls_min_version: source.tls_min_version.clone(),
        ..TlsFiles::default()
    };
    let rpc_legacy =
        TlsFiles { verify_incoming: source.verify_incoming_rpc, ..TlsFiles::default() };
    let https_legacy =
        TlsFiles { verify_incoming: source.verify_incoming_https, ..TlsFiles::default() };
    let rpc = [&tls.internal_rpc, &rpc_legacy, defaults, &legacy];
    let verify_server_hostname =
        first(&rpc, |files| files.verify_server_hostname).unwrap_or(auto_encrypt.tls);
    let mut internal_rpc = protocol("internal_rpc", &rpc)?;
    internal_rpc.verify_outgoing |= verify_server_hostname || auto_encrypt.tls;
    Ok(Tls {
        auto: tls.auto.unwrap_or(false),
        auto_names: tls.auto_names.clone(),
        internal_rpc,
        https: protocol("https", &[&tls.https, &https_legacy, defaults, &legacy])?,
        grpc: protocol("grpc", &[&tls.grpc])?,
        verify_server_hostname,
    })
}

/// Returns the first value that is set, by precedence of `choices`.
fn first<T>(choices: &[&TlsFiles], value: impl Fn(&TlsFiles) -> Option<T>) -> Option<T> {
    choices.iter().find_map(|files| value(files))
}

fn protocol(name: &str, choices: &[&TlsFiles]) -> Result<TlsProtocol, ConfigError> {
    let path = |value: fn(&TlsFiles) -> Option<&String>| {
        first(choices, |files| value(files).filter(|path| !path.is_empty()).map(PathBuf::from))
    };
    let version =
        first(choices, |files| files.tls_min_version.clone().filter(|version| !version.is_empty()));
    let protocol = TlsProtocol {
        cert_file: path(|files| files.cert_file.as_ref()),
        key_file: path(|files| files.key_file.as_ref()),
        ca_file: path(|files| files.ca_file.as_ref()),
        ca_path: path(|files| files.ca_path.as_ref()),
        verify_incoming: first(choices, |files| files.verify_incoming).unwrap_or(false),
        verify_outgoing: first(choices, |files| files.verify_outgoing).unwrap_or(false),
        min_version: min_version(name, version.as_deref())?,
    };
    match (&protocol.cert_file, &protocol.key_file) {
        (Some(_), None) => Err(missing(name, "cert_file", "key_file")),
        (None, Some(_)) => Err(missing(name, "key_file", "cert_file")),
        _ => Ok(protocol),
    }
}

fn missing(name: &str, given: &str, missing: &str) -> ConfigError {
    ConfigError::Conflict(format!("tls.{name} has {given} but no {missing}"))
}

/// Parses the oldest accepted version; `tls12` and `tls13` are older spellings.
fn min_version(name: &str, given: Option<&str>) -> Result<MinVersion, ConfigError> {
    match given {
        None | Some("TLS_AUTO" | "TLSv1_2" | "tls12") => Ok(MinVersion::Tls12),
        Some("TLSv1_3" | "tls13") => Ok(MinVersion::Tls13),
        Some(other) => Err(ConfigError::invalid(
            &format!("tls.{name}.tls_min_version"),
            format!("{other:?} is neither \"TLSv1_2\" nor \"TLSv1_3\"; older versions are unsafe"),
        )),
    }
}

pub(super) fn auto_encrypt(
    source: &AutoEncryptSource,
    server: bool,
) -> Result<AutoEncrypt, ConfigError> {
    let (tls, allow_tls) = (source.tls.unwrap_or(false), source.allow_tls.unwrap_or(false));
    let conflict = |text: &str| Err(ConfigError::Conflict(text.to_owned()));
    if tls && server {
        return conflict("auto_encrypt.tls can only be used on a client");
    }
    if allow_tls && !server {
        return conflict("auto_encrypt.allow_tls can only be used on a server");
    }
    for name in &source.dns_san {
        if name.is_empty() || name.starts_with("server.") || name.contains('*') {
            return Err(ConfigError::invalid(
                "auto_encrypt.dns_san",
                format!("{name:?} is no name for a client"),
            ));
        }
    }
    let ip_san = source
        .ip_san
        .iter()
        .map(|text| addresses::parse_ip("auto_encrypt.ip_san", text))
        .collect::<Result<_, _>>()?;
    Ok(AutoEncrypt { tls, allow_tls, dns_san: source.dns_san.clone(), ip_san })
}
