//! Consul's exact error bodies that more than one member produces or matches.
//!
//! These texts are wire contract: clients and scripts compare them. The HTTP server's own table is
//! in the agent (`http/error.rs`); nothing inside lictor decides by comparing them.

/// No server currently leads.
pub const NO_LEADER: &str = "No cluster leader";
/// A client agent knows no server.
pub const NO_SERVERS: &str = "No known Consul servers";
/// The datacenter is not reachable.
pub const NO_DATACENTER: &str = "No path to datacenter";
