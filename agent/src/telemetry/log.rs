//! The log of this process: Consul's lines or JSON, on stdout, because scripts and tutorials grep
//! them there.

use lictor_config::runtime::Log;
use lictor_runtime::log::{self, Format, LogHandle, Output, StartError};

/// The component of Consul's log for each crate's lines.
const COMPONENTS: &[(&str, &str)] = &[
    ("lictor::", "agent."),
    ("lictor_config", "agent.config"),
    ("lictor_consensus", "agent.raft"),
    ("lictor_core", "agent"),
    ("lictor_membership", "agent.gossip"),
    ("lictor_runtime", "agent.runtime"),
    ("lictor_store", "agent.state"),
    ("lictor_transport::servers", "agent.servers"),
    ("lictor_transport::tls", "agent.tls"),
    ("lictor_transport", "agent.rpc"),
];

/// Starts logging for this process. Called once, before the agent starts. The caller holds the
/// handle until the process exits.
///
/// # Errors
/// [`StartError`]: logging has already been started in this process.
pub fn start(log: &Log) -> Result<LogHandle, StartError> {
    let format = if log.json { Format::FlatJson } else { Format::Component(COMPONENTS) };
    log::start(&filter(&log.level), format, Output::Stdout)
}

/// Returns the filter for `level`: all of our own lines, and the libraries' from warnings up.
pub fn filter(level: &str) -> String {
    let libraries = if level == "error" { "error" } else { "warn" };
    // A target also matches those that begin with it: "lictor" covers each of our crates.
    let ours = ["lictor", "agent", "connect"];
    let directives: String = ours.iter().map(|target| format!(",{target}={level}")).collect();
    // openraft and the gossip engine repeat many times what their wrappers log once.
    let engines = if matches!(level, "debug" | "trace") { "warn" } else { "off" };
    format!(
        "{libraries},openraft=off,tower=off,serf_core={engines},memberlist_core={engines},memberlist_net={engines}{directives}"
    )
}
