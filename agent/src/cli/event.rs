//! `lictor event`: fires a user event to the agents of the datacenter.

use std::process::ExitCode;

use anyhow::{Context, bail};
use lictor_api::types::event::UserEvent;

use super::{Verb, api_flags::ApiFlags, output};

/// Flags of `event`.
#[derive(Debug, clap::Args)]
pub struct EventVerb {
    /// Name of the event
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Only nodes whose name matches this regular expression
    #[arg(long)]
    node: Option<String>,
    /// Only nodes with a service whose name matches this regular expression
    #[arg(long)]
    service: Option<String>,
    /// Only if a tag of that service matches this regular expression
    #[arg(long)]
    tag: Option<String>,
    /// Payload of the event; about 450 bytes at most
    payload: Vec<String>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for EventVerb {
    const PATH: &'static str = "event";
    const ABOUT: &'static str = "Fire an event that watches on all agents see";
    const DETAILS: &'static str = "\
Examples:
  lictor event -name=deploy 1.2.3
  lictor event -name=restart -service=web -tag=v2";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.name.is_empty() {
            bail!("Event name must be specified");
        }
        let payload = match self.payload.as_slice() {
            [] => Vec::new(),
            [payload] => payload.clone().into_bytes(),
            _ => bail!("Too many command line arguments."),
        };
        let filters = [("node", &self.node), ("service", &self.service), ("tag", &self.tag)];
        let query: Vec<(&str, &str)> = filters
            .iter()
            .filter_map(|(name, filter)| filter.as_deref().map(|filter| (*name, filter)))
            .collect();
        let event: UserEvent = self
            .api
            .client()?
            .put(&format!("/v1/event/fire/{}", self.name), &query, payload.into())
            .await
            .context("Error firing event")?
            .json()?;
        output::line(format!("Event ID: {}", event.id));
        Ok(ExitCode::SUCCESS)
    }
}
