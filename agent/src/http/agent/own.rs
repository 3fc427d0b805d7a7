//! `/v1/agent/self` and `/version`: this agent's configuration, figures and version.
//!
//! The shapes are those that Nomad, consul-template and Consul's Go client read.

use std::net::SocketAddr;

use lictor_api::{CONSUL_VERSION, types::agent::Member};
use lictor_config::RuntimeConfig;
use lictor_core::acl::Access;
use lictor_membership::{MemberStatus, Pool};
use serde_json::{Value, json};

use crate::{
    agent::{Agent, pools},
    http::{Context, HttpError, Request, Response},
};

const ALIVE: u8 = 1;

/// `GET /v1/agent/self`: returns this agent's configuration, member entry, coordinate and figures.
pub(in crate::http) async fn describe(cx: Context, _: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Agent { write: false })?;
    let (agent, config) = (&cx.agent, cx.agent.config.load());
    let (grpc, grpc_tls) = (port(&config.listen.grpc), port(&config.listen.grpc_tls));
    Response::json(&json!({
        "Config": {
            "Datacenter": config.datacenter,
            "PrimaryDatacenter": config.primary_datacenter,
            "NodeName": config.node_name,
            "NodeID": agent.node_id,
            "Revision": "",
            "Server": config.server,
            "Version": CONSUL_VERSION,
            "BuildDate": "1970-01-01T00:00:00Z",
        },
        "DebugConfig": debug_config(agent, &config),
        "Coord": agent.pools.lan.as_ref().map(Pool::coordinate),
        "Member": member(agent, &config, false),
        "Stats": stats(agent, &config),
        "Meta": agent.local.node().meta,
        "xDS": {
            "SupportedProxies": {},
            "Port": if grpc > 0 { grpc } else { grpc_tls },
            "Ports": { "Plaintext": grpc, "TLS": grpc_tls },
        },
    }))
}

/// `GET /v1/agent/version`: returns this agent's version.
pub(in crate::http) async fn version(_: Context, _: Request) -> Result<Response, HttpError> {
    Response::json(&json!({
        "SHA": "",
        "BuildDate": "1970-01-01T00:00:00Z",
        "HumanVersion": CONSUL_VERSION,
        "FIPS": "",
    }))
}

/// Returns the port of a listener; -1 when it is off.
fn port(addresses: &[SocketAddr]) -> i32 {
    addresses.first().map_or(-1, |address| address.port().into())
}

fn debug_config(agent: &Agent, config: &RuntimeConfig) -> Value {
    let listen = &config.listen;
    let addresses = |addresses: &[SocketAddr], networks: &[&str]| -> Vec<String> {
        addresses
            .iter()
            .flat_map(|address| networks.iter().map(move |net| format!("{net}://{address}")))
            .collect()
    };
    let advertise = |port| format!("tcp://{}", SocketAddr::new(config.advertise_addr, port));
    json!({
        "AdvertiseAddrLAN": config.advertise_addr,
        "AdvertiseAddrWAN": config.advertise_addr_wan,
        "BindAddr": config.bind_addr,
        "BootstrapExpect": config.bootstrap_expect,
        "CheckUpdateInterval": lictor_api::GoDuration(config.check_update_interval),
        "ConnectEnabled": config.connect.enabled,
        "ConnectSidecarMaxPort": config.sidecar_ports.end(),
        "ConnectSidecarMinPort": config.sidecar_ports.start(),
        "DNSAddrs": addresses(&listen.dns, &["tcp", "udp"]),
        "DNSDomain": format!("{}.", config.domain),
        "DNSPort": port(&listen.dns),
        "DataDir": config.data_dir,
        "Datacenter": config.datacenter,
        "DevMode": config.dev,
        "EnableDebug": config.enable_debug,
        "EnableLocalScriptChecks": config.enable_local_script_checks,
        "EnableRemoteScriptChecks": config.enable_remote_script_checks,
        "GRPCAddrs": addresses(&listen.grpc, &["tcp"]),
        "GRPCPort": port(&listen.grpc),
        "GRPCTLSAddrs": addresses(&listen.grpc_tls, &["tcp"]),
        "GRPCTLSPort": port(&listen.grpc_tls),
        "HTTPAddrs": addresses(&listen.http, &["tcp"]),
        "HTTPPort": port(&listen.http),
        "HTTPSAddrs": addresses(&listen.https, &["tcp"]),
        "HTTPSPort": port(&listen.https),
        "LeaveOnTerm": config.leave_on_terminate,
        "NodeID": agent.node_id,
        "NodeMeta": config.node_meta,
        "NodeName": config.node_name,
        "PrimaryDatacenter": config.primary_datacenter,
        "SerfAdvertiseAddrLAN": advertise(config.serf_lan_port),
        "SerfPortLAN": config.serf_lan_port,
        "SerfPortWAN": config.serf_wan_port,
        "ServerMode": config.server,
        "ServerPort": config.server_port,
        "SkipLeaveOnInt": config.skip_leave_on_interrupt,
        "UIConfig": { "Enabled": config.ui_enabled },
        "Version": CONSUL_VERSION,
    })
}

/// Returns this agent as a member of a pool, also when the pool is off.
pub(super) fn member(agent: &Agent, config: &RuntimeConfig, wan: bool) -> Member {
    let pool = if wan { &agent.pools.wan } else { &agent.pools.lan };
    if let Some(pool) = pool
        && let Some(own) = pool.members().iter().find(|member| member.name == pool.name())
    {
        return super::members::row(own);
    }
    let name = &config.node_name;
    let (name, addr, port) = if wan {
        let name = format!("{name}.{}", config.datacenter);
        (name, config.advertise_addr_wan, config.serf_wan_port)
    } else {
        (name.clone(), config.advertise_addr, config.serf_lan_port)
    };
    Member {
        name,
        addr: addr.to_string(),
        port,
        tags: pools::tags(config, &agent.node_id),
        status: ALIVE,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    }
}

/// Returns figures as text by subsystem; `consul info` prints them.
fn stats(agent: &Agent, config: &RuntimeConfig) -> Value {
    let table = agent.local.snapshot();
    let ttls = table.checks().filter(|local| local.ttl_deadline.is_some()).count();
    let monitors = table.checks().filter(|local| local.check.check_type == "script").count();
    let server = agent.server();
    let leader = server.and_then(|server| server.current_leader().ok());
    let leader_address =
        leader.as_ref().map(|leader| leader.address.to_string()).unwrap_or_default();
    let datacenters = agent.forwarder.servers().datacenters().len().max(1).to_string();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    json!({
        "agent": {
            "check_monitors": monitors.to_string(),
            "check_ttls": ttls.to_string(),
            "checks": table.checks().count().to_string(),
            "services": table.services().count().to_string(),
        },
        "build": {
            "prerelease": "",
            "revision": "",
            "version": CONSUL_VERSION,
            "version_metadata": env!("CARGO_PKG_VERSION"),
        },
        "consul": {
            "acl": "disabled",
            "bootstrap": (config.bootstrap_expect == 1).to_string(),
            "known_datacenters": datacenters,
            "leader": leader.is_some_and(|leader| leader.is_self).to_string(),
            "leader_addr": leader_address,
            "server": config.server.to_string(),
        },
        "raft": server.map(|server| server.consensus().stats()).unwrap_or_default(),
        "runtime": {
            "arch": std::env::consts::ARCH,
            "cpu_count": cpus,
            "max_procs": cpus,
            "os": std::env::consts::OS,
        },
        "serf_lan": pool_stats(agent.pools.lan.as_ref()),
        "serf_wan": pool_stats(agent.pools.wan.as_ref()),
    })
}

fn pool_stats(pool: Option<&Pool>) -> Value {
    let members = pool.map(Pool::members).unwrap_or_default();
    let count = |status| members.iter().filter(|m| m.status == status).count().to_string();
    json!({
        "members": members.len().max(1).to_string(),
        "failed": count(MemberStatus::Failed),
        "left": count(MemberStatus::Left),
        "encrypted": pool.is_some_and(Pool::is_encrypted).to_string(),
    })
}
