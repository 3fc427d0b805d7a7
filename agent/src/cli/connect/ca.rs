//! `lictor connect ca ...`: the mesh's certificate authority.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use lictor_api::types::connect::CaConfiguration;
use serde::Serialize;

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `connect ca get-config`.
#[derive(Debug, clap::Args)]
pub struct GetConfigVerb {
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for GetConfigVerb {
    const PATH: &'static str = "connect ca get-config";
    const ABOUT: &'static str = "Show the settings of the certificate authority";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let config: CaConfiguration = self
            .api
            .client()?
            .get_json("/v1/connect/ca/configuration", &[])
            .await
            .context("Error querying CA configuration")?;
        let mut text = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        config.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
        output::value(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `connect ca set-config`.
#[derive(Debug, clap::Args)]
pub struct SetConfigVerb {
    /// File with the new settings as JSON
    #[arg(long)]
    config_file: PathBuf,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for SetConfigVerb {
    const PATH: &'static str = "connect ca set-config";
    const ABOUT: &'static str = "Change the settings of the certificate authority";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.config_file.display();
        let text = std::fs::read(&self.config_file)
            .with_context(|| format!("Error reading config file {path}"))?;
        let config: serde_json::Value = serde_json::from_slice(&text)
            .with_context(|| format!("Error parsing config file {path}"))?;
        self.api
            .client()?
            .put_json("/v1/connect/ca/configuration", &[], &config)
            .await
            .context("Error setting CA configuration")?;
        output::line("Configuration updated!");
        Ok(ExitCode::SUCCESS)
    }
}
