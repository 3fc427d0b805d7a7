//! `lictor snapshot save`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::{
    archive,
    cli::{Verb, api_flags::ApiFlags, output},
};

/// Flags of `snapshot save`.
#[derive(Debug, clap::Args)]
pub struct SaveVerb {
    /// The file to write; replaced if it exists
    file: PathBuf,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for SaveVerb {
    const PATH: &'static str = "snapshot save";
    const ABOUT: &'static str = "Save the cluster's state to a file";
    const DETAILS: &'static str = "\
The file is verified after it is written. It holds the certificate authority's key, so keep it
as safe as the servers' data directories.

Examples:
  lictor snapshot save backup.snap
  lictor snapshot save -stale backup.snap       when there is no leader";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.api.client()?.get("/v1/snapshot", &[]).await;
        let answer = answer.and_then(lictor_api::client::Answer::success);
        let answer = answer.context("Error saving snapshot")?;
        let saved = archive::save(&self.file, &answer.body)
            .with_context(|| format!("Error writing snapshot file {:?}", self.file))?;
        output::line(format!("Saved and verified snapshot to index {}", saved.meta.index));
        Ok(ExitCode::SUCCESS)
    }
}
