//! Builds the settings of the mesh from `connect` and `kubernetes`.

use std::time::Duration;

use lictor_api::contract::{ROOTS_CONFIG_MAP, TOKEN_AUDIENCE};
use lictor_api::types::connect::BuiltinCaConfig;

use super::{
    ConfigError,
    runtime::{AutoEncrypt, Connect, Kubernetes},
    source::{CaConfigSource, KubernetesSource, Source},
};

pub(super) fn connect(source: &Source, auto_encrypt: &AutoEncrypt) -> Result<Connect, ConfigError> {
    let config = &source.connect;
    if let Some(provider) =
        config.ca_provider.as_deref().filter(|name| !matches!(*name, "" | "consul"))
    {
        return Err(ConfigError::invalid(
            "connect.ca_provider",
            format!("{provider:?} is not supported; the built-in \"consul\" is the only one"),
        ));
    }
    let default_allow = match source.default_intention_policy.as_deref() {
        None | Some("" | "allow") => true,
        Some("deny") => false,
        Some(other) => {
            return Err(ConfigError::invalid(
                "default_intention_policy",
                format!("{other:?} is neither \"allow\" nor \"deny\""),
            ));
        }
    };
    // The mesh authority issues client agents' certificates (COMPAT: Consul enables it, too).
    let enabled = config.enabled.unwrap_or(true) || auto_encrypt.allow_tls;
    Ok(Connect { enabled, ca: ca_config(&config.ca_config)?, default_allow })
}

const HOUR: Duration = Duration::from_secs(3600);

fn ca_config(source: &CaConfigSource) -> Result<BuiltinCaConfig, ConfigError> {
    let default = BuiltinCaConfig::default();
    let ca = BuiltinCaConfig {
        cluster_id: source.cluster_id.clone().unwrap_or_default(),
        leaf_cert_ttl: source.leaf_cert_ttl.unwrap_or(default.leaf_cert_ttl),
        root_cert_ttl: source.root_cert_ttl.unwrap_or(default.root_cert_ttl),
        intermediate_cert_ttl: source
            .intermediate_cert_ttl
            .unwrap_or(default.intermediate_cert_ttl),
        csr_max_per_second: source.csr_max_per_second.unwrap_or(default.csr_max_per_second),
        test_state: source.test_state.clone(),
    };
    if !(HOUR..=8760 * HOUR).contains(&ca.leaf_cert_ttl.0) {
        return Err(ConfigError::invalid(
            "connect.ca_config.leaf_cert_ttl",
            format!("is {}; it must be between 1h and 8760h", ca.leaf_cert_ttl),
        ));
    }
    if !ca.cluster_id.is_empty() && uuid::Uuid::parse_str(&ca.cluster_id).is_err() {
        return Err(ConfigError::invalid(
            "connect.ca_config.cluster_id",
            format!("was supplied but was not a valid UUID: {:?}", ca.cluster_id),
        ));
    }
    Ok(ca)
}

pub(super) fn kubernetes(
    source: Option<&KubernetesSource>,
) -> Result<Option<Kubernetes>, ConfigError> {
    let Some(source) = source.filter(|source| source.enabled.unwrap_or(true)) else {
        return Ok(None);
    };
    let required = |key: &str, value: &Option<String>| {
        value.clone().filter(|text| !text.is_empty()).ok_or_else(|| {
            ConfigError::invalid(
                &format!("kubernetes.{key}"),
                "is required when the block is enabled",
            )
        })
    };
    let operator_service_account =
        required("operator_service_account", &source.operator_service_account)?;
    if operator_service_account.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(ConfigError::invalid(
            "kubernetes.operator_service_account",
            format!("{operator_service_account:?} is not of the form namespace/name"),
        ));
    }
    Ok(Some(Kubernetes {
        audience: source.audience.clone().unwrap_or_else(|| TOKEN_AUDIENCE.to_owned()),
        namespace: required("namespace", &source.namespace)?,
        roots_config_map: source
            .roots_config_map
            .clone()
            .unwrap_or_else(|| ROOTS_CONFIG_MAP.to_owned()),
        operator_service_account,
    }))
}
