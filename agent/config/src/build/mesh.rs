//! `connect` and `kubernetes`.

use std::time::Duration;

use super::ConfigError;
use crate::{
    runtime::{AutoEncrypt, Connect, Kubernetes},
    source::{KubernetesSource, Source},
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
    let ca = config.ca_config.clone().unwrap_or_default();
    let hour = Duration::from_secs(3600);
    if ca.leaf_cert_ttl.0 < hour || ca.leaf_cert_ttl.0 > 8760 * hour {
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
    // Client agents' certificates are the mesh authority's (COMPAT: Consul turns it on, too).
    let enabled = config.enabled.unwrap_or(true) || auto_encrypt.allow_tls;
    Ok(Connect { enabled, ca, default_allow })
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
        audience: source.audience.clone().unwrap_or_else(|| "lictor".to_owned()),
        namespace: required("namespace", &source.namespace)?,
        roots_config_map: source
            .roots_config_map
            .clone()
            .unwrap_or_else(|| "lictor-roots".to_owned()),
        operator_service_account,
    }))
}
