//! Validates a pod's annotations: returns the injection they request, or why the pod is refused.
//!
//! Pure. A bad value is refused at admission, naming the item: a pod that could never work must not
//! be left waiting in an init loop. Whether the pod may use its service name is decided later, by
//! the leader (`claims`).

use std::{collections::BTreeMap, net::SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use lictor_api::{
    contract::{ANNOTATION_SERVICE, ANNOTATION_UPSTREAMS},
    go::parse_bool,
    upstream::{self, InvalidUpstream, Upstream},
};

use crate::{
    annotations::{self, Pairs},
    contract::{
        INJECT, RESERVED_META, RESERVED_PORTS, SERVICE_META, SERVICE_PORT, SIDECAR_RESOURCE, VOLUME,
    },
    pod,
};

/// Keys of service meta that an instance may have besides the operator's own; Consul's limit is 64.
const MAX_META: usize = 64 - RESERVED_META.len();

/// What to do with a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Do not change it.
    Skip,
    /// Inject a sidecar.
    Inject(Injection),
}

/// The pod's part of what the patch depends on; the rest is the operator's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injection {
    /// Upstreams of the pod, each with its local port.
    pub upstreams: Vec<Upstream>,
    /// `requests` and `limits` of the sidecar that the pod overrides, by resource name.
    pub requests: BTreeMap<&'static str, String>,
    /// See `requests`.
    pub limits: BTreeMap<&'static str, String>,
    /// Shown to the user who created the pod.
    pub warnings: Vec<String>,
}

/// Why a pod cannot be injected; the text goes to the user who created it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum Refusal {
    #[error("{INJECT}: {0:?} is not a boolean")]
    Inject(String),
    #[error("{ANNOTATION_SERVICE}: {0:?} must be 1 to 128 letters, digits, '-', '_' or '.'")]
    ServiceName(String),
    #[error("{ANNOTATION_SERVICE}: {0:?} names several services, one per pod is supported")]
    SeveralServices(String),
    #[error("{SERVICE_PORT}: {0:?} is neither a port number nor the name of a container port")]
    ServicePort(String),
    #[error("{ANNOTATION_UPSTREAMS}: {0}")]
    Upstream(#[from] InvalidUpstream),
    #[error("{ANNOTATION_UPSTREAMS}: {upstream:?} binds {bind}, a port of container {container:?}")]
    ContainerPort { upstream: String, bind: SocketAddr, container: String },
    #[error("{ANNOTATION_UPSTREAMS}: {upstream:?} binds {bind}, a port of the sidecar itself")]
    SidecarPort { upstream: String, bind: SocketAddr },
    #[error("container {container:?} has port {port}, which the sidecar itself listens on")]
    PortTaken { container: String, port: u16 },
    #[error("{SERVICE_META}{0}: this key is set by the operator")]
    ReservedMeta(String),
    #[error(
        "{SERVICE_META}{0}: keys have 1 to 128 letters, digits, '-' or '_', values at most 512"
    )]
    Meta(String),
    #[error("service-meta: {0} keys are given, at most {MAX_META} are possible")]
    TooMuchMeta(usize),
    #[error("{annotation}: {value:?} is not a quantity")]
    Quantity { annotation: String, value: String },
    #[error("volume {VOLUME:?} is the sidecar's, choose another name")]
    Volume,
    #[error("hostNetwork pods cannot have a sidecar: its ports would be those of the node")]
    HostNetwork,
}

/// Decides whether and how a pod is injected. `default_inject` applies to pods without the
/// annotation.
///
/// # Errors
/// The first annotation, port or volume that prevents it.
pub fn validate(pod: &Pod, default_inject: bool) -> Result<Verdict, Refusal> {
    let none = Pairs::new();
    let pairs = pod.metadata.annotations.as_ref().unwrap_or(&none);
    if !wanted(pairs, default_inject)? {
        return Ok(Verdict::Skip);
    }
    check_shape(pod)?;
    check_service(pairs, pod)?;
    check_meta(pairs)?;
    let upstreams = check_upstreams(pairs, pod)?;
    let (requests, limits) = (resources(pairs, "request")?, resources(pairs, "limit")?);
    let warnings = annotations::conflicts(pairs);
    Ok(Verdict::Inject(Injection { upstreams, requests, limits, warnings }))
}

fn wanted(pairs: &Pairs, default_inject: bool) -> Result<bool, Refusal> {
    let Some(text) = annotations::get(pairs, INJECT) else { return Ok(default_inject) };
    parse_bool(text).ok_or_else(|| Refusal::Inject(text.to_owned()))
}

fn check_shape(pod: &Pod) -> Result<(), Refusal> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.host_network == Some(true) {
        return Err(Refusal::HostNetwork);
    }
    let mut volumes = spec.volumes.iter().flatten();
    if !pod::is_injected(pod) && volumes.any(|volume| volume.name == VOLUME) {
        return Err(Refusal::Volume);
    }
    match pod::ports(pod).find(|(_, port)| RESERVED_PORTS.contains(port)) {
        Some((container, port)) => Err(Refusal::PortTaken { container: container.into(), port }),
        None => Ok(()),
    }
}

fn check_service(pairs: &Pairs, pod: &Pod) -> Result<(), Refusal> {
    if let Some(name) = annotations::get(pairs, ANNOTATION_SERVICE) {
        if name.contains(',') {
            return Err(Refusal::SeveralServices(name.to_owned()));
        }
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(letters) {
            return Err(Refusal::ServiceName(name.to_owned()));
        }
    }
    if let Some(ports) = annotations::get(pairs, SERVICE_PORT) {
        for port in ports.split(',').map(str::trim) {
            pod::resolve_port(pod, port).ok_or_else(|| Refusal::ServicePort(port.to_owned()))?;
        }
    }
    Ok(())
}

fn check_meta(pairs: &Pairs) -> Result<(), Refusal> {
    let meta = annotations::starting_with(pairs, SERVICE_META);
    if meta.len() > MAX_META {
        return Err(Refusal::TooMuchMeta(meta.len()));
    }
    for (key, value) in meta {
        if RESERVED_META.contains(&key) {
            return Err(Refusal::ReservedMeta(key.to_owned()));
        }
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if key.len() > 128 || value.len() > 512 || !key.bytes().all(letters) {
            return Err(Refusal::Meta(key.to_owned()));
        }
    }
    Ok(())
}

fn check_upstreams(pairs: &Pairs, pod: &Pod) -> Result<Vec<Upstream>, Refusal> {
    let text = annotations::get(pairs, ANNOTATION_UPSTREAMS).unwrap_or_default();
    let upstreams = upstream::parse(text)?;
    for upstream in &upstreams {
        let (bind, port) = (upstream.bind(), upstream.bind_port);
        if RESERVED_PORTS.contains(&port) {
            return Err(Refusal::SidecarPort { upstream: upstream.to_string(), bind });
        }
        if let Some((container, _)) = pod::ports(pod).find(|(_, taken)| *taken == port) {
            let (upstream, container) = (upstream.to_string(), container.to_owned());
            return Err(Refusal::ContainerPort { upstream, bind, container });
        }
    }
    Ok(upstreams)
}

fn resources(pairs: &Pairs, kind: &str) -> Result<BTreeMap<&'static str, String>, Refusal> {
    let mut found = BTreeMap::new();
    for resource in ["cpu", "memory"] {
        let annotation = format!("{SIDECAR_RESOURCE}{resource}-{kind}");
        let Some(value) = annotations::get(pairs, &annotation) else { continue };
        if !is_quantity(value) {
            return Err(Refusal::Quantity { annotation, value: value.to_owned() });
        }
        found.insert(resource, value.to_owned());
    }
    Ok(found)
}

/// Returns whether `text` is a Kubernetes quantity that a resource may have: a number without a
/// minus, and an optional suffix or exponent.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] =
        ["", "m", "u", "n", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let text = text.strip_prefix('+').unwrap_or(text);
    let split = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let exponent = suffix.strip_prefix(['e', 'E']);
    let has_exponent = exponent.is_some_and(|exponent| exponent.parse::<i32>().is_ok());
    number.parse::<f64>().is_ok() && (has_exponent || SUFFIXES.contains(&suffix))
}

#[cfg(test)]
mod tests;
