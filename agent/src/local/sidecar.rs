//! `connect.sidecar_service`: the proxy registered along with a service, its empty fields filled in
//! from it (Consul "Sidecar service registration").
//!
//! Pure: the caller supplies the port, because it has the table of those in use.

use lictor_api::{
    GoDuration, ServiceId, ServiceName,
    contract::SIDECAR_PROXY_SUFFIX,
    types::{
        agent::{CheckDefinition, ServiceDefinition},
        catalog::ServiceKind,
    },
};

use super::error::RegistrationError;

const LISTENING_INTERVAL_SECONDS: u64 = 10;

/// Returns the ID of a service's sidecar.
pub fn sidecar_id(service: &ServiceId) -> ServiceId {
    ServiceId::from(format!("{service}{SIDECAR_PROXY_SUFFIX}"))
}

/// Derives the sidecar of `parent`, whose defaults are filled in already. Calls `free_port` when
/// the definition has no port. The result still needs its own defaults, like any other definition.
///
/// # Errors
/// [`RegistrationError::InvalidSidecar`] for a definition that cannot be a sidecar, or when no port
/// is free.
pub fn expand(
    parent: &ServiceDefinition,
    mut sidecar: ServiceDefinition,
    free_port: impl FnOnce() -> Result<u16, String>,
) -> Result<ServiceDefinition, RegistrationError> {
    let refuse = |text: &str| Err(RegistrationError::InvalidSidecar(text.to_owned()));
    if !sidecar.id.is_empty() {
        return refuse(
            "sidecar_service can't specify an ID, it is always the service's ID with \"-sidecar-proxy\"",
        );
    }
    if let Some(connect) = &sidecar.connect {
        if connect.sidecar_service.is_some() {
            return refuse("sidecar_service can't have a nested sidecar_service");
        }
        if connect.native {
            return refuse("sidecar_service can't be Connect Native");
        }
    }
    sidecar.id = sidecar_id(&parent.id);
    if sidecar.kind == ServiceKind::Typical {
        sidecar.kind = ServiceKind::ConnectProxy;
    }
    if sidecar.name.is_empty() {
        sidecar.name = ServiceName::from(format!("{}{SIDECAR_PROXY_SUFFIX}", parent.name));
    }
    if sidecar.address.is_empty() {
        sidecar.address.clone_from(&parent.address);
    }
    if sidecar.tags.is_empty() {
        sidecar.tags.clone_from(&parent.tags);
    }
    if sidecar.meta.is_empty() {
        sidecar.meta.clone_from(&parent.meta);
    }
    if sidecar.port == 0 && sidecar.socket_path.is_empty() {
        sidecar.port = free_port().map_err(RegistrationError::InvalidSidecar)?;
    }
    fill_proxy(parent, &mut sidecar);
    if sidecar.check.is_none() && sidecar.checks.is_empty() {
        sidecar.checks = default_checks(parent, &sidecar);
    }
    Ok(sidecar)
}

fn fill_proxy(parent: &ServiceDefinition, sidecar: &mut ServiceDefinition) {
    let proxy = sidecar.proxy.get_or_insert_default();
    if proxy.destination_service_name.is_empty() {
        proxy.destination_service_name = parent.name.to_string();
    }
    if proxy.destination_service_id.is_empty() {
        proxy.destination_service_id = parent.id.to_string();
    }
    if proxy.local_service_address.is_empty() {
        "127.0.0.1".clone_into(&mut proxy.local_service_address);
    }
    if proxy.local_service_port == 0 {
        proxy.local_service_port = parent.port;
    }
    for upstream in &mut proxy.upstreams {
        if upstream.destination_type.is_empty() {
            "service".clone_into(&mut upstream.destination_type);
        }
    }
}

fn default_checks(parent: &ServiceDefinition, sidecar: &ServiceDefinition) -> Vec<CheckDefinition> {
    let address = if sidecar.address.is_empty() { "127.0.0.1" } else { &sidecar.address };
    let listening = CheckDefinition {
        name: "Connect Sidecar Listening".to_owned(),
        tcp: lictor_api::names::join_host_port(address, sidecar.port),
        interval: GoDuration::from_secs(LISTENING_INTERVAL_SECONDS),
        ..CheckDefinition::default()
    };
    let aliasing = CheckDefinition {
        name: format!("Connect Sidecar Aliasing {}", parent.id),
        alias_service: parent.id.clone(),
        ..CheckDefinition::default()
    };
    // A sidecar on a Unix socket has no port to connect to.
    if sidecar.port == 0 { vec![aliasing] } else { vec![listening, aliasing] }
}
