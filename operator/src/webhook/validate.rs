//! What a pod's annotations ask for, or why the pod is refused.
//!
//! A bad value is refused here, at admission, naming the item: a pod that could never work must
//! not be left waiting in an init loop. Whether the pod may use its service name is decided later,
//! by the leader (`claims`).

use std::{collections::BTreeMap, net::SocketAddr};

use k8s_openapi::api::core::v1::{Container, Pod};
use lictor_api::upstream::{self, InvalidUpstream, Upstream};

use super::mutate::{SIDECAR, VOLUME};
use crate::{
    annotations::{self, Pairs},
    registration::RESERVED_META,
};

/// Ports that the sidecar listens on inside the pod.
const SIDECAR_PORTS: [u16; 5] = [19000, 20000, 20200, 20600, 21000];
const MAX_META: usize = 64 - RESERVED_META.len();

/// What to do with a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Leave it as it is.
    Skip,
    /// Give it a sidecar.
    Inject(Injection),
}

/// What the patch depends on besides the operator's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injection {
    /// Local ports that the application gets.
    pub upstreams: Vec<Upstream>,
    /// `requests` and `limits` of the sidecar that the pod overrides, by resource name.
    pub requests: BTreeMap<&'static str, String>,
    /// See `requests`.
    pub limits: BTreeMap<&'static str, String>,
    /// Shown to whoever created the pod.
    pub warnings: Vec<String>,
}

/// Why a pod cannot be injected; the text goes to whoever created it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum Refusal {
    #[error("connect-inject: {0:?} is not a boolean")]
    Inject(String),
    #[error("connect-service: {0:?} must be 1 to 128 letters, digits, '-', '_' or '.'")]
    ServiceName(String),
    #[error("connect-service: {0:?} names several services, one per pod is supported")]
    SeveralServices(String),
    #[error(
        "connect-service-port: {0:?} is neither a port number nor the name of a container port"
    )]
    ServicePort(String),
    #[error("connect-service-upstreams: {0}")]
    Upstream(#[from] InvalidUpstream),
    #[error(
        "connect-service-upstreams: {upstream:?} binds {bind}, a port of container {container:?}"
    )]
    ContainerPort { upstream: String, bind: SocketAddr, container: String },
    #[error("connect-service-upstreams: {upstream:?} binds {bind}, a port of the sidecar itself")]
    SidecarPort { upstream: String, bind: SocketAddr },
    #[error("container {container:?} has port {port}, which the sidecar itself listens on")]
    PortTaken { container: String, port: u16 },
    #[error("service-meta-{0}: this key is set by the operator")]
    ReservedMeta(String),
    #[error("service-meta-{0}: keys have 1 to 128 letters, digits, '-' or '_', values at most 512")]
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

/// Decides about a pod. `default_inject` holds for pods without the annotation.
///
/// # Errors
/// The first annotation, port or volume that stands in the way.
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
    let Some(text) = annotations::get(pairs, "connect-inject") else { return Ok(default_inject) };
    annotations::parse_bool(text).ok_or_else(|| Refusal::Inject(text.to_owned()))
}

/// The application's own containers, without the sidecar of an earlier injection.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers).filter(|container| container.name != SIDECAR)
}

fn init_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten())
}

/// Every port of the application, with its container's name.
fn container_ports(pod: &Pod) -> impl Iterator<Item = (&str, u16)> {
    let own = init_containers(pod).filter(|container| container.name != SIDECAR);
    containers(pod).chain(own).flat_map(|container| {
        let ports = container.ports.iter().flatten();
        ports.filter_map(|port| {
            Some((container.name.as_str(), u16::try_from(port.container_port).ok()?))
        })
    })
}

fn check_shape(pod: &Pod) -> Result<(), Refusal> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.host_network == Some(true) {
        return Err(Refusal::HostNetwork);
    }
    let injected = init_containers(pod).any(|container| container.name == SIDECAR);
    let mut volumes = spec.volumes.iter().flatten();
    if !injected && volumes.any(|volume| volume.name == VOLUME) {
        return Err(Refusal::Volume);
    }
    match container_ports(pod).find(|(_, port)| SIDECAR_PORTS.contains(port)) {
        Some((container, port)) => Err(Refusal::PortTaken { container: container.into(), port }),
        None => Ok(()),
    }
}

fn check_service(pairs: &Pairs, pod: &Pod) -> Result<(), Refusal> {
    if let Some(name) = annotations::get(pairs, "connect-service") {
        if name.contains(',') {
            return Err(Refusal::SeveralServices(name.to_owned()));
        }
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(letters) {
            return Err(Refusal::ServiceName(name.to_owned()));
        }
    }
    if let Some(ports) = annotations::get(pairs, "connect-service-port") {
        for port in ports.split(',').map(str::trim) {
            resolve_port(pod, port).ok_or_else(|| Refusal::ServicePort(port.to_owned()))?;
        }
    }
    Ok(())
}

/// The number of a port given by number or by the name of a container port.
pub(crate) fn resolve_port(pod: &Pod, port: &str) -> Option<u16> {
    if let Ok(number) = port.parse::<u16>() {
        return (number > 0).then_some(number);
    }
    let mut ports = containers(pod).flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|candidate| candidate.name.as_deref() == Some(port))?;
    u16::try_from(named.container_port).ok()
}

fn check_meta(pairs: &Pairs) -> Result<(), Refusal> {
    let meta = annotations::starting_with(pairs, "service-meta-");
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
    let text = annotations::get(pairs, "connect-service-upstreams").unwrap_or_default();
    let upstreams = upstream::parse(text)?;
    for upstream in &upstreams {
        let (bind, port) = (upstream.bind(), upstream.bind_port);
        if SIDECAR_PORTS.contains(&port) {
            return Err(Refusal::SidecarPort { upstream: upstream.to_string(), bind });
        }
        if let Some((container, _)) = container_ports(pod).find(|(_, taken)| *taken == port) {
            let (upstream, container) = (upstream.to_string(), container.to_owned());
            return Err(Refusal::ContainerPort { upstream, bind, container });
        }
    }
    Ok(upstreams)
}

fn resources(pairs: &Pairs, kind: &str) -> Result<BTreeMap<&'static str, String>, Refusal> {
    let mut found = BTreeMap::new();
    for resource in ["cpu", "memory"] {
        let annotation = format!("sidecar-proxy-{resource}-{kind}");
        let Some(value) = annotations::get(pairs, &annotation) else { continue };
        if !is_quantity(value) {
            return Err(Refusal::Quantity { annotation, value: value.to_owned() });
        }
        found.insert(resource, value.to_owned());
    }
    Ok(found)
}

/// The shape of a Kubernetes quantity that makes sense here: a number and an optional suffix.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 14] =
        ["", "m", "u", "n", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti"];
    let split = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    number.parse::<f64>().is_ok() && SUFFIXES.contains(&suffix)
}

#[cfg(test)]
mod tests;
