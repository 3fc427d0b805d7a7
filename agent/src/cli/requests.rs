//! `lictor reload`, `leave`, `join` and `force-leave`: short requests to the local agent.

use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;

use super::{Verb, api_flags::AgentFlags, output};

/// Flags of `reload`.
#[derive(Debug, clap::Args)]
pub struct ReloadVerb {
    #[command(flatten)]
    api: AgentFlags,
}

impl Verb for ReloadVerb {
    const PATH: &'static str = "reload";
    const ABOUT: &'static str = "Make the agent read its configuration files again";

    async fn run(self) -> anyhow::Result<ExitCode> {
        self.api
            .client()?
            .put("/v1/agent/reload", &[], Bytes::new())
            .await
            .context("Error reloading")?;
        output::line("Configuration reload triggered");
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `leave`.
#[derive(Debug, clap::Args)]
pub struct LeaveVerb {
    #[command(flatten)]
    api: AgentFlags,
}

impl Verb for LeaveVerb {
    const PATH: &'static str = "leave";
    const ABOUT: &'static str = "Make the agent leave the cluster and stop";

    async fn run(self) -> anyhow::Result<ExitCode> {
        self.api
            .client()?
            .put("/v1/agent/leave", &[], Bytes::new())
            .await
            .context("Error leaving")?;
        output::line("Graceful leave complete");
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `join`.
#[derive(Debug, clap::Args)]
pub struct JoinVerb {
    /// Join over the WAN
    #[arg(long)]
    wan: bool,
    /// Addresses of agents
    #[arg(required = true)]
    addresses: Vec<String>,
    #[command(flatten)]
    api: AgentFlags,
}

impl Verb for JoinVerb {
    const PATH: &'static str = "join";
    const ABOUT: &'static str = "Make the agent join other agents";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        let query: &[(&str, &str)] = if self.wan { &[("wan", "1")] } else { &[] };
        let mut joined = 0;
        for address in &self.addresses {
            match client.put(&format!("/v1/agent/join/{address}"), query, Bytes::new()).await {
                Ok(_) => joined += 1,
                Err(error) => {
                    output::error_line(format!("Error joining address '{address}': {error}"))
                }
            }
        }
        if joined == 0 {
            output::error_line("Failed to join any nodes.");
            return Ok(ExitCode::FAILURE);
        }
        output::line(format!("Successfully joined cluster by contacting {joined} nodes."));
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `force-leave`.
#[derive(Debug, clap::Args)]
pub struct ForceLeaveVerb {
    /// Remove the member from the list at once
    #[arg(long)]
    prune: bool,
    /// In the WAN pool
    #[arg(long)]
    wan: bool,
    /// Name of the member
    node: String,
    #[command(flatten)]
    api: AgentFlags,
}

impl Verb for ForceLeaveVerb {
    const PATH: &'static str = "force-leave";
    const ABOUT: &'static str = "Mark a failed agent as one that has left";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut query = Vec::new();
        if self.prune {
            query.push(("prune", ""));
        }
        if self.wan {
            query.push(("wan", "1"));
        }
        self.api
            .client()?
            .put(&format!("/v1/agent/force-leave/{}", self.node), &query, Bytes::new())
            .await
            .context("Error force leaving")?;
        Ok(ExitCode::SUCCESS)
    }
}
