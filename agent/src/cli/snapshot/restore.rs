//! `lictor snapshot restore`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `snapshot restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreVerb {
    /// The file that `snapshot save` wrote
    file: PathBuf,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for RestoreVerb {
    const PATH: &'static str = "snapshot restore";
    const ABOUT: &'static str = "Replace the cluster's state by a saved one";
    const DETAILS: &'static str = "\
Everything written since the snapshot is gone afterwards. The file is verified completely, here
and by the servers, before anything changes; the servers themselves stay who they are.

Examples:
  lictor snapshot restore backup.snap";

    async fn run(self) -> anyhow::Result<ExitCode> {
        super::open(&self.file)?;
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("Error opening snapshot file {:?}", self.file))?;
        self.api
            .client()?
            .put("/v1/snapshot", &[], bytes.into())
            .await
            .context("Error restoring snapshot")?;
        output::line("Restored snapshot");
        Ok(ExitCode::SUCCESS)
    }
}
