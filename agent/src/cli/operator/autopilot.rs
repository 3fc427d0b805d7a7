//! `lictor operator autopilot get-config | set-config | state`.

use std::{fmt::Write, process::ExitCode};

use anyhow::Context;
use clap::ValueEnum;
use lictor_api::{
    GoDuration,
    types::operator::{AutopilotChange, AutopilotConfiguration, AutopilotState},
};

use crate::cli::{Verb, api_flags::ApiFlags, output};

const CONFIGURATION: &str = "/v1/operator/autopilot/configuration";

/// How to print.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Pretty,
    Json,
}

/// Flags of `operator autopilot get-config`.
#[derive(Debug, clap::Args)]
pub struct GetConfigVerb {
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for GetConfigVerb {
    const PATH: &'static str = "operator autopilot get-config";
    const ABOUT: &'static str = "Show autopilot's settings";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let configuration: AutopilotConfiguration = client
            .get_json(CONFIGURATION, &[])
            .await
            .context("Error querying Autopilot configuration")?;
        for line in lines(&configuration) {
            output::line(line);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn lines(configuration: &AutopilotConfiguration) -> [String; 8] {
    [
        format!("CleanupDeadServers = {}", configuration.cleanup_dead_servers),
        format!("LastContactThreshold = {}", configuration.last_contact_threshold),
        format!("MaxTrailingLogs = {}", configuration.max_trailing_logs),
        format!("MinQuorum = {}", configuration.min_quorum),
        format!("ServerStabilizationTime = {}", configuration.server_stabilization_time),
        format!("RedundancyZoneTag = {:?}", configuration.redundancy_zone_tag),
        format!("DisableUpgradeMigration = {}", configuration.disable_upgrade_migration),
        format!("UpgradeVersionTag = {:?}", configuration.upgrade_version_tag),
    ]
}

/// Flags of `operator autopilot set-config`.
#[derive(Debug, clap::Args)]
pub struct SetConfigVerb {
    /// Remove servers that failed
    #[arg(long)]
    cleanup_dead_servers: Option<bool>,
    /// Time without contact after which a server is unhealthy
    #[arg(long)]
    last_contact_threshold: Option<GoDuration>,
    /// Entries that a healthy server may be behind
    #[arg(long)]
    max_trailing_logs: Option<u64>,
    /// Voters that cleaning up leaves at least
    #[arg(long)]
    min_quorum: Option<u32>,
    /// How long a new server must be healthy before it votes
    #[arg(long)]
    server_stabilization_time: Option<GoDuration>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for SetConfigVerb {
    const PATH: &'static str = "operator autopilot set-config";
    const ABOUT: &'static str = "Change autopilot's settings";
    const DETAILS: &'static str = "\
What is not named stays as it is.

Examples:
  lictor operator autopilot set-config -cleanup-dead-servers=false
  lictor operator autopilot set-config -server-stabilization-time 30s -min-quorum 3";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let old: AutopilotConfiguration = client
            .get_json(CONFIGURATION, &[])
            .await
            .context("Error querying Autopilot configuration")?;
        let change = AutopilotChange {
            cleanup_dead_servers: self.cleanup_dead_servers,
            last_contact_threshold: self.last_contact_threshold,
            max_trailing_logs: self.max_trailing_logs,
            min_quorum: self.min_quorum,
            server_stabilization_time: self.server_stabilization_time,
            ..AutopilotChange::default()
        };
        let index = old.modify_index.to_string();
        let answer = client
            .put_json(CONFIGURATION, &[("cas", &index)], &change.apply(&old))
            .await
            .context("Error setting Autopilot configuration")?;
        if answer.text().trim() == "true" {
            output::line("Configuration updated!");
            return Ok(ExitCode::SUCCESS);
        }
        output::error_line("Configuration could not be atomically updated, please try again");
        Ok(ExitCode::FAILURE)
    }
}

/// Flags of `operator autopilot state`.
#[derive(Debug, clap::Args)]
pub struct StateVerb {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for StateVerb {
    const PATH: &'static str = "operator autopilot state";
    const ABOUT: &'static str = "Show the health of the servers";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let state: AutopilotState = client
            .get_json("/v1/operator/autopilot/state", &[])
            .await
            .context("Error getting Autopilot state")?;
        match self.format {
            Format::Json => {
                let mut text = Vec::new();
                let spaces = serde_json::ser::PrettyFormatter::with_indent(b"    ");
                serde::Serialize::serialize(
                    &state,
                    &mut serde_json::Serializer::with_formatter(&mut text, spaces),
                )?;
                output::value(&text)?;
            }
            Format::Pretty => output::line(pretty(&state).trim_end()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Renders the state. COMPAT: in Consul's layout. `fmt::Write` to a `String` cannot fail.
fn pretty(state: &AutopilotState) -> String {
    let mut text = String::new();
    let mut line = |indent: usize, width: usize, name: &str, value: &str| {
        let _infallible = writeln!(text, "{:indent$}{name:<width$} {value}", "");
    };
    line(0, 29, "Healthy:", &state.healthy.to_string());
    line(0, 29, "Failure Tolerance:", &state.failure_tolerance.to_string());
    let optimistic = state.optimistic_failure_tolerance.to_string();
    line(0, 29, "Optimistic Failure Tolerance:", &optimistic);
    line(0, 29, "Leader:", &state.leader);
    line(0, 0, "Voters:", "");
    for voter in &state.voters {
        line(3, 0, voter, "");
    }
    line(0, 0, "Servers:", "");
    for server in state.servers.values() {
        line(3, 0, &server.id, "");
        for (name, value) in [
            ("Name:", server.name.clone()),
            ("Address:", server.address.clone()),
            ("Version:", server.version.clone()),
            ("Status:", server.status.clone()),
            ("Node Type:", server.node_type.clone()),
            ("Node Status:", server.node_status.clone()),
            ("Healthy:", server.healthy.to_string()),
            ("Last Contact:", server.last_contact.to_string()),
            ("Last Term:", server.last_term.to_string()),
            ("Last Index:", server.last_index.to_string()),
        ] {
            line(6, 15, name, &value);
        }
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use lictor_api::types::operator::AutopilotServer;

    use super::*;

    #[test]
    fn the_settings_read_as_in_consul() {
        let lines = lines(&AutopilotConfiguration::default());
        assert_eq!(lines[0], "CleanupDeadServers = true");
        assert_eq!(lines[1], "LastContactThreshold = 200ms");
        assert_eq!(lines[4], "ServerStabilizationTime = 10s");
        assert_eq!(lines[5], "RedundancyZoneTag = \"\"");
    }

    #[test]
    fn the_state_reads_as_in_consul() {
        let server = AutopilotServer {
            id: "id-a".to_owned(),
            name: "a".to_owned(),
            status: "leader".to_owned(),
            ..AutopilotServer::default()
        };
        let state = AutopilotState {
            healthy: true,
            leader: "id-a".to_owned(),
            voters: vec!["id-a".to_owned()],
            servers: [("id-a".to_owned(), server)].into(),
            ..AutopilotState::default()
        };
        let text = pretty(&state);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Healthy:                      true");
        assert_eq!(lines[2], "Optimistic Failure Tolerance: 0");
        assert_eq!(lines[4..8], ["Voters:", "   id-a", "Servers:", "   id-a"]);
        assert_eq!(lines[8], "      Name:           a");
    }
}
