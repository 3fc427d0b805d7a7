//! The log of this process: Consul's lines or JSON, on stdout, because scripts and tutorials grep
//! them there.

use lictor_config::runtime::Log;
use lictor_runtime::log::{self, Format, LogHandle, Output, StartError};

/// Where the crates' lines stand in Consul's log. A crate behind its own name keeps the name that
/// its lines have always had.
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

/// Starts logging for this process. Called once, before the agent starts. The handle is kept until
/// the process ends.
///
/// # Errors
/// [`StartError`]: something in this process logs already.
pub fn start(log: &Log) -> Result<LogHandle, StartError> {
    let format = if log.json { Format::FlatJson } else { Format::Component(COMPONENTS) };
    log::start(&filter(&log.level), format, Output::Stdout)
}

/// Returns what is logged at `level`: our own lines, and the libraries' only from warnings up.
pub fn filter(level: &str) -> String {
    let libraries = if level == "error" { "error" } else { "warn" };
    // A target stands for those that begin with it, too: "lictor" for each of our crates.
    let ours = ["lictor", "agent", "connect"];
    let directives: String = ours.iter().map(|target| format!(",{target}={level}")).collect();
    // openraft and the gossip engine report what their wrappers say once, many times over.
    let engines = if matches!(level, "debug" | "trace") { "warn" } else { "off" };
    format!(
        "{libraries},openraft=off,tower=off,serf_core={engines},memberlist_core={engines},memberlist_net={engines}{directives}"
    )
}
