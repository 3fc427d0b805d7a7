//! `lictor intention get | list | match | check | delete`.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context;
use http::StatusCode;
use lictor_api::types::intention::Intention;

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `intention get`.
#[derive(Debug, clap::Args)]
pub struct GetVerb {
    /// Source service
    source: String,
    /// Destination service
    destination: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for GetVerb {
    const PATH: &'static str = "intention get";
    const ABOUT: &'static str = "Show one intention";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let query = [("source", self.source.as_str()), ("destination", self.destination.as_str())];
        let answer = self.api.client()?.get("/v1/connect/intentions/exact", &query).await?;
        if answer.status == StatusCode::NOT_FOUND {
            output::error_line(format!(
                "Error: Intention with source {:?} and destination {:?} not found.",
                self.source, self.destination
            ));
            return Ok(ExitCode::FAILURE);
        }
        let intention: Intention = answer.success()?.json()?;
        let action = intention.action.map_or("", |action| action.as_str());
        let mut rows = vec![
            output::row(["Source:", &intention.source_name]),
            output::row(["Destination:", &intention.destination_name]),
            output::row(["Action:", action]),
            output::row(["Precedence:", &intention.precedence.to_string()]),
        ];
        if !intention.description.is_empty() {
            rows.push(output::row(["Description:", &intention.description]));
        }
        for (key, value) in &intention.meta {
            rows.push(output::row([&format!("Meta[{key}]:"), value]));
        }
        output::table(&rows);
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `intention list`.
#[derive(Debug, clap::Args)]
pub struct ListVerb {
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for ListVerb {
    const PATH: &'static str = "intention list";
    const ABOUT: &'static str = "List all intentions";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let intentions: Vec<Intention> = self
            .api
            .client()?
            .get_json("/v1/connect/intentions", &[])
            .await
            .context("Failed to retrieve the intentions list")?;
        if intentions.is_empty() {
            output::error_line("There are no intentions.");
            return Ok(ExitCode::from(2));
        }
        let mut rows = vec![output::row(["ID", "Source", "Action", "Destination", "Precedence"])];
        rows.extend(intentions.iter().map(|intention| {
            output::row([
                &intention.id,
                &intention.source_name,
                intention.action.map_or("", |action| action.as_str()),
                &intention.destination_name,
                &intention.precedence.to_string(),
            ])
        }));
        output::table(&rows);
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `intention match`.
#[derive(Debug, clap::Args)]
pub struct MatchVerb {
    /// The argument is a destination (the default)
    #[arg(long)]
    destination: bool,
    /// The argument is a source
    #[arg(long)]
    source: bool,
    /// The service
    name: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for MatchVerb {
    const PATH: &'static str = "intention match";
    const ABOUT: &'static str = "Show which intentions match a service, most important first";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.source && self.destination {
            anyhow::bail!("Only one of -source or -destination may be specified.");
        }
        let by = if self.source { "source" } else { "destination" };
        let matches: BTreeMap<String, Vec<Intention>> = self
            .api
            .client()?
            .get_json("/v1/connect/intentions/match", &[("by", by), ("name", &self.name)])
            .await
            .context("Error matching the connection")?;
        for intention in matches.get(&self.name).into_iter().flatten() {
            output::line(super::describe(intention));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `intention check`.
#[derive(Debug, clap::Args)]
pub struct CheckVerb {
    /// Source service
    source: String,
    /// Destination service
    destination: String,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Allowed {
    allowed: bool,
}

impl Verb for CheckVerb {
    const PATH: &'static str = "intention check";
    const ABOUT: &'static str = "Show whether one service may connect to another";

    // COMPAT: 1 is the result "denied".
    const ERROR_CODE: u8 = 2;

    async fn run(self) -> anyhow::Result<ExitCode> {
        let query = [("source", self.source.as_str()), ("destination", self.destination.as_str())];
        let Allowed { allowed } = self
            .api
            .client()?
            .get_json("/v1/connect/intentions/check", &query)
            .await
            .context("Error checking the connection")?;
        output::line(if allowed { "Allowed" } else { "Denied" });
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Flags of `intention delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteVerb {
    /// Source service
    source: String,
    /// Destination service
    destination: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for DeleteVerb {
    const PATH: &'static str = "intention delete";
    const ABOUT: &'static str = "Delete an intention";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let query = [("source", self.source.as_str()), ("destination", self.destination.as_str())];
        self.api
            .client()?
            .delete("/v1/connect/intentions/exact", &query)
            .await
            .context("Error deleting the intention")?;
        output::line("Intention deleted.");
        Ok(ExitCode::SUCCESS)
    }
}
