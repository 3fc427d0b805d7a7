//! `lictor snapshot decode`: a saved state as one JSON document per line.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use crate::cli::{Verb, output};

/// Flags of `snapshot decode`.
#[derive(Debug, clap::Args)]
pub struct DecodeVerb {
    /// The file that `snapshot save` wrote
    file: PathBuf,
}

impl Verb for DecodeVerb {
    const PATH: &'static str = "snapshot decode";
    const ABOUT: &'static str = "Print what a saved state holds, one JSON document per line";
    const DETAILS: &'static str = "\
Needs no agent. The certificate authority's key is not printed.

Examples:
  lictor snapshot decode backup.snap | jq 'select(.Type == \"KVS\") | .Data.Key'";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let archive = super::open(&self.file)?;
        let header =
            json!({ "Type": "SnapshotHeader", "Data": { "LastIndex": archive.meta.index } });
        output::line(header.to_string());
        for (kind, data) in super::rows(&archive.state) {
            output::line(json!({ "Type": kind, "Data": data }).to_string());
        }
        Ok(ExitCode::SUCCESS)
    }
}
