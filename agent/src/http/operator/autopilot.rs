//! `/v1/operator/autopilot/*`: settings, and how the servers are.

use std::time::Duration;

use http::StatusCode;
use lictor_api::{
    GoDuration,
    types::operator::{
        AutopilotChange, AutopilotConfiguration, AutopilotServer, AutopilotState, OperatorHealth,
        ServerHealth,
    },
};
use lictor_consensus::ConsensusError;
use lictor_core::{
    acl::Access,
    fsm::{AutopilotCommand, Command},
};

use super::{Context, HttpError, Request, Response, by_leader};
use crate::server::autopilot::{Report, health::Health};

/// `GET /v1/operator/autopilot/configuration`.
pub(in crate::http) async fn configuration(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: false })?;
    cx.server()?.barrier(request.options()?.consistency).await?;
    Response::json(&in_force(&cx))
}

/// `PUT /v1/operator/autopilot/configuration?cas=`: what is left out stays as it is. Answers whether
/// it was changed.
pub(in crate::http) async fn configure(
    cx: Context,
    request: Request,
) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: true })?;
    let change: AutopilotChange = request.decode()?;
    let expected = request.number("cas")?;
    cx.server()?.barrier(lictor_api::query::Consistency::Default).await?;
    let configuration = change.apply(&in_force(&cx));
    let command = AutopilotCommand { configuration, expected };
    Response::json(&cx.propose(Command::Autopilot(command)).await?)
}

/// What an operator set, or the configuration files.
fn in_force(cx: &Context) -> AutopilotConfiguration {
    let defaults = cx.agent.config.load().autopilot.into();
    cx.agent.store.snapshot().autopilot_or(&defaults).clone()
}

/// `GET /v1/operator/autopilot/health`: 429 if a server is not healthy.
pub(in crate::http) async fn health(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: false })?;
    if let Some(response) = by_leader(&cx, &request).await? {
        return Ok(response);
    }
    let report = report(&cx).await?;
    let answer = to_health(&report);
    let status = if answer.healthy { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
    Ok(Response::json(&answer)?.with_status(status))
}

/// `GET /v1/operator/autopilot/state`.
pub(in crate::http) async fn state(cx: Context, request: Request) -> Result<Response, HttpError> {
    cx.authorize(&Access::Operator { write: false })?;
    if let Some(response) = by_leader(&cx, &request).await? {
        return Ok(response);
    }
    let report = report(&cx).await?;
    Response::json(&to_state(&report))
}

/// What this server, which leads, last found. There is none in its first moments: it waits for it.
async fn report(cx: &Context) -> Result<std::sync::Arc<Report>, HttpError> {
    let server = cx.server()?;
    let found = async || server.autopilot().load_full().ok_or(ConsensusError::NoLeader);
    Ok(server.hold(found).await?)
}

fn to_health(report: &Report) -> OperatorHealth {
    let server = |server: &Health| ServerHealth {
        id: server.peer.node_id.clone(),
        name: server.peer.node_name.clone(),
        address: server.peer.address.to_string(),
        serf_status: server.liveness.as_str().to_owned(),
        version: server.version.clone(),
        leader: server.peer.node_id == report.leader,
        last_contact: last_contact(server),
        last_term: report.term,
        last_index: server.contact.matched.unwrap_or(0),
        healthy: server.healthy,
        voter: server.peer.voter,
        stable_since: stable_since(report, server),
    };
    OperatorHealth {
        healthy: report.is_healthy(),
        failure_tolerance: report.failure_tolerance(),
        servers: report.servers.iter().map(server).collect(),
    }
}

fn to_state(report: &Report) -> AutopilotState {
    let status = |server: &Health| match server.peer.voter {
        _ if server.peer.node_id == report.leader => "leader",
        true => "voter",
        false => "non-voter",
    };
    let server = |server: &Health| AutopilotServer {
        id: server.peer.node_id.clone(),
        name: server.peer.node_name.clone(),
        address: server.peer.address.to_string(),
        node_status: server.liveness.as_str().to_owned(),
        version: server.version.clone(),
        last_contact: last_contact(server),
        last_term: report.term,
        last_index: server.contact.matched.unwrap_or(0),
        healthy: server.healthy,
        stable_since: stable_since(report, server),
        status: status(server).to_owned(),
        node_type: "voter".to_owned(),
        ..AutopilotServer::default()
    };
    let voters = report.servers.iter().filter(|server| server.peer.voter);
    let mut voters: Vec<String> = voters.map(|server| server.peer.node_id.clone()).collect();
    voters.sort_by_key(|id| *id != report.leader);
    AutopilotState {
        healthy: report.is_healthy(),
        failure_tolerance: report.failure_tolerance(),
        optimistic_failure_tolerance: report.failure_tolerance(),
        servers: report
            .servers
            .iter()
            .map(|known| (known.peer.node_id.clone(), server(known)))
            .collect(),
        leader: report.leader.clone(),
        voters,
    }
}

/// To the microsecond: nobody reads more. A server that never answered this leader shows as far
/// away as a duration can be.
fn last_contact(server: &Health) -> GoDuration {
    let never = Duration::from_secs(9_223_372_036);
    let ago = server.contact.ago.unwrap_or(never);
    GoDuration(Duration::from_micros(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
}

fn stable_since(report: &Report, server: &Health) -> String {
    let stable_for = jiff::SignedDuration::try_from(server.stable_for).unwrap_or_default();
    let since = report.at.checked_sub(stable_for).unwrap_or(report.at);
    since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
