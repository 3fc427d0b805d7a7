//! Decides which service a pod belongs to, and whether it may use that name.
//!
//! Pure. The caller holds [`Ownership`] between two runs.
//!
//! **Name**, the first that applies: annotation `connect-service`; annotation `kubernetes-service`;
//! the Service that selects the pod; label `app.kubernetes.io/name`; the controlling workload; the
//! pod's own name.
//!
//! **Claim.** The pod's ServiceAccount has the service's name, or a Service of that name in the
//! pod's namespace selects the pod and no other namespace owns the name. First come: a name belongs
//! to the namespace whose pods were registered under it ([`Ownership`]). A refused claim means no
//! registration, and so no certificate and no DNS answer; otherwise any pod could receive the
//! traffic of `payments`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt as _;

use lictor_api::contract::ANNOTATION_SERVICE;

use crate::{
    annotations,
    contract::{APP_NAME_LABEL, KUBERNETES_SERVICE, SERVICE_IGNORE, SERVICE_PORT},
    pod::{self, resolve_port},
};

/// The service of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its name in the catalog.
    pub service: String,
    /// The Kubernetes Service it was taken from, or that carries the same name.
    pub kubernetes_service: Option<String>,
    /// All Services that select the pod, if several do.
    pub ambiguous: Vec<String>,
}

/// A pod may not use the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Neither the pod's ServiceAccount nor a Service that selects it has the name.
    #[error(
        "service name {service:?} is not this pod's: name its ServiceAccount {service:?} (it is \
         {account:?}), or let a Service {service:?} in namespace {namespace:?} select the pod"
    )]
    NotEarned {
        /// The requested name.
        service: String,
        /// The pod's ServiceAccount.
        account: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// Another namespace owns the name.
    #[error("service name {service:?} belongs to namespace {owner:?}")]
    Taken {
        /// The requested name.
        service: String,
        /// The namespace that owns it.
        owner: String,
    },
}

/// Namespaces by the service name they own.
pub type Owners = BTreeMap<String, BTreeSet<String>>;

/// How long a namespace owns a name without a Service after its last pod.
const OWNERSHIP_TTL: Duration = Duration::from_secs(600);

/// Namespaces by service name, with the time of their last pod. It outlives the pods: otherwise
/// another namespace could take a name over while the owner's pods restart.
#[derive(Debug, Default)]
pub struct Ownership(BTreeMap<(String, String), Instant>);

impl Ownership {
    /// Records that pods of `namespace` are registered as `service`.
    pub fn record(&mut self, service: &str, namespace: &str, now: Instant) {
        self.0.insert((service.to_owned(), namespace.to_owned()), now);
    }

    /// Returns the owners at `now`. A namespace loses a name once it has no Service of that name
    /// and had no pod under it for [`OWNERSHIP_TTL`].
    pub fn owners(&mut self, services: &[Arc<Service>], now: Instant) -> Owners {
        let names: BTreeSet<_> = services
            .iter()
            .map(|service| (service.name_any(), service.namespace().unwrap_or_default()))
            .collect();
        self.0.retain(|owner, seen| {
            names.contains(owner) || now.duration_since(*seen) < OWNERSHIP_TTL
        });
        let mut owners = Owners::new();
        for (service, namespace) in self.0.keys().cloned() {
            owners.entry(service).or_default().insert(namespace);
        }
        owners
    }
}

/// Returns the Services that select a pod, without ignored ones, by name.
pub fn selecting<'a>(pod: &Pod, services: impl Iterator<Item = &'a Service>) -> Vec<&'a Service> {
    let mut found: Vec<_> = services.filter(|service| selects(service, pod)).collect();
    found.sort_by_key(|service| service.name_any());
    found
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let ignored = annotations::get(service.labels(), SERVICE_IGNORE) == Some("true");
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(selector) = selector.filter(|selector| !selector.is_empty() && !ignored) else {
        return false;
    };
    service.namespace() == pod.namespace()
        && selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
}

/// Returns the pod's service name; `selecting` are the Services that select it.
pub fn name(pod: &Pod, selecting: &[&Service]) -> Name {
    let known = |name: &str| {
        selecting.iter().any(|service| service.name_any() == name).then(|| name.to_owned())
    };
    for annotation in [ANNOTATION_SERVICE, KUBERNETES_SERVICE] {
        if let Some(service) = annotations::get(pod.annotations(), annotation) {
            let (service, kubernetes_service) = (service.to_owned(), known(service));
            return Name { service, kubernetes_service, ambiguous: Vec::new() };
        }
    }
    if let Some(service) = pick(pod, selecting) {
        let names = selecting.iter().map(|service| service.name_any()).collect();
        let ambiguous = if selecting.len() > 1 { names } else { Vec::new() };
        return Name { service: service.clone(), kubernetes_service: Some(service), ambiguous };
    }
    let labeled = pod.labels().get(APP_NAME_LABEL).cloned();
    let workload = || pod::workload(pod).map(ToOwned::to_owned);
    let service = labeled.or_else(workload).unwrap_or_else(|| pod.name_any());
    Name { service, kubernetes_service: None, ambiguous: Vec::new() }
}

/// Chooses among several Services the one whose target port is annotated, else the first by name.
fn pick(pod: &Pod, selecting: &[&Service]) -> Option<String> {
    let wanted = annotations::get(pod.annotations(), SERVICE_PORT);
    let wanted = wanted.and_then(|port| resolve_port(pod, port));
    let matches = |service: &&&Service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let mut targets = ports.map(|port| match &port.target_port {
            Some(IntOrString::String(name)) => resolve_port(pod, name),
            Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
            None => u16::try_from(port.port).ok(),
        });
        wanted.is_some() && targets.any(|target| target == wanted)
    };
    let chosen = selecting.iter().find(matches).or_else(|| selecting.first())?;
    Some(chosen.name_any())
}

/// Checks that the pod may use `name`.
///
/// # Errors
/// [`ClaimError`]; its text is published in the Event.
pub fn claim(
    pod: &Pod,
    name: &Name,
    selecting: &[&Service],
    owners: &Owners,
) -> Result<(), ClaimError> {
    let account = pod::service_account(pod);
    if account == name.service {
        return Ok(());
    }
    let service = name.service.clone();
    let namespace = pod.namespace().unwrap_or_default();
    if !selecting.iter().any(|selecting| selecting.name_any() == service) {
        return Err(ClaimError::NotEarned { service, account: account.to_owned(), namespace });
    }
    let mut owners = owners.get(&service).into_iter().flatten();
    match owners.find(|owner| **owner != namespace) {
        Some(owner) => Err(ClaimError::Taken { owner: owner.clone(), service }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
