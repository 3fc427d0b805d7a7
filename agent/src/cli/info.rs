//! `lictor info`: the agent's statistics, for debugging.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context;

use super::{Verb, api_flags::AgentFlags, output};

/// Flags of `info`.
#[derive(Debug, clap::Args)]
pub struct InfoVerb {
    #[command(flatten)]
    api: AgentFlags,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentSelf {
    #[serde(default)]
    stats: BTreeMap<String, BTreeMap<String, String>>,
}

impl Verb for InfoVerb {
    const PATH: &'static str = "info";
    const ABOUT: &'static str = "Show statistics of the agent";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let agent: AgentSelf = self
            .api
            .client()?
            .get_json("/v1/agent/self", &[])
            .await
            .context("Error querying agent")?;
        for (section, figures) in agent.stats {
            output::line(format!("{section}:"));
            for (name, value) in figures {
                output::line(format!("\t{name} = {value}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
