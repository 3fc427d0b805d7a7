//! Why the agent rejects a registration. The texts are Consul's, because clients print them.

use lictor_api::{CheckId, ServiceId};

use super::persist::PersistError;

/// Why a registration was rejected. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// A service without a name.
    #[error("Missing service name")]
    MissingServiceName,
    /// A check without a name.
    #[error("Missing check name")]
    MissingCheckName,
    /// A service at an unspecified address, which clients cannot connect to.
    #[error("Invalid service address")]
    InvalidServiceAddress,
    /// A check whose definition cannot be run.
    #[error("Invalid check: {0}")]
    InvalidCheck(&'static str),
    /// An initial status that is not passing, warning or critical.
    #[error("Bad check status")]
    BadCheckStatus,
    /// Weights out of bounds.
    #[error("Invalid Weights: {0}")]
    InvalidWeights(&'static str),
    /// Meta out of bounds.
    #[error("Invalid Service Meta: {0}")]
    InvalidMeta(String),
    /// Fields that contradict each other.
    #[error("Validation failed: {0}")]
    Contradiction(&'static str),
    /// A sidecar that cannot be derived.
    #[error("Invalid SidecarService: {0}")]
    InvalidSidecar(String),
    /// A script check while script checks are disabled.
    #[error(
        "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true"
    )]
    ScriptsDisabled,
    /// A script check over HTTP while only those from files are enabled.
    #[error(
        "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
    )]
    RemoteScriptsDisabled,
    /// A check of an instance that is not registered here.
    #[error("ServiceID \"{0}\" does not exist")]
    NoSuchService(ServiceId),
    /// An instance that is not registered here.
    #[error(
        "Unknown service ID \"{0}\". Ensure that the service ID is passed, not the service name."
    )]
    UnknownService(ServiceId),
    /// A check that is not registered here.
    #[error("Unknown check ID \"{0}\". Ensure that the check ID is passed, not the check name.")]
    UnknownCheck(CheckId),
    /// A status for a check that the agent runs itself.
    #[error("CheckID \"{0}\" does not have associated TTL")]
    NotTtl(CheckId),
    /// The definition could not be persisted.
    #[error(transparent)]
    Persist(#[from] PersistError),
}
