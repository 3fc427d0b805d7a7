//! Why the agent does not take a registration. The texts are Consul's, because clients print them.

use lictor_api::{CheckId, ServiceId};

use super::persist::PersistError;

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// A service without a name.
    #[error("Missing service name")]
    MissingServiceName,
    /// A check without a name.
    #[error("Missing check name")]
    MissingCheckName,
    /// A service at an address that nobody can connect to.
    #[error("Invalid service address")]
    InvalidServiceAddress,
    /// A check that cannot be run as it is described.
    #[error("Invalid check: {0}")]
    InvalidCheck(&'static str),
    /// An initial status that is none of the three.
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
    /// A script check where none may run.
    #[error(
        "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true"
    )]
    ScriptsDisabled,
    /// A script check over HTTP where only those from files may run.
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
    /// The definition could not be kept on disk.
    #[error(transparent)]
    Persist(#[from] PersistError),
}
