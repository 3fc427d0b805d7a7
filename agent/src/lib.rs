//! The lictor agent: a Consul-compatible catalog, KV, DNS and certificate authority.
//!
//! ARCHITECTURE.md says how the modules fit together; each module's header says what it keeps.

pub mod acl;
pub mod agent;
pub mod archive;
pub mod ca;
pub mod checks;
pub mod cli;
pub mod config;
pub mod connect;
pub mod dns;
pub mod events;
pub mod forward;
pub mod fsm;
pub mod gossip;
pub mod http;
pub mod kubernetes;
pub mod local;
pub mod planted;
pub mod raft;
pub mod rate;
pub mod rpc;
pub mod server;
pub mod servers;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod views;
