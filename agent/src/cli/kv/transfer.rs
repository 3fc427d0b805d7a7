//! `lictor kv export` and `kv import`: keys as a JSON document.

use std::process::ExitCode;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use lictor_api::types::kv::KvPair;
use serde::{Deserialize, Serialize};

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// One key in an exported document.
#[derive(Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    value: String,
}

/// Flags of `kv export`.
#[derive(Debug, clap::Args)]
pub struct KvExportVerb {
    /// Export the keys that begin with this; all by default
    #[arg(default_value = "")]
    prefix: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for KvExportVerb {
    const PATH: &'static str = "kv export";
    const ABOUT: &'static str = "Print keys as a JSON document";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self
            .api
            .client()?
            .get(&super::path(&self.prefix), &[("recurse", "")])
            .await
            .context("Error querying Consul agent")?;
        let pairs: Vec<KvPair> = if answer.status == StatusCode::NOT_FOUND {
            Vec::new()
        } else {
            answer.success()?.json()?
        };
        let exported: Vec<Exported> = pairs
            .into_iter()
            .map(|pair| Exported {
                key: pair.key,
                flags: pair.flags,
                value: STANDARD.encode(pair.value),
            })
            .collect();
        let mut text = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        exported.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
        output::value(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `kv import`.
#[derive(Debug, clap::Args)]
pub struct KvImportVerb {
    /// Put this before each key
    #[arg(long, default_value = "")]
    prefix: String,
    /// The document; @file is a file's content, - is stdin
    #[arg(allow_hyphen_values = true)]
    data: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for KvImportVerb {
    const PATH: &'static str = "kv import";
    const ABOUT: &'static str = "Write the keys of an exported document";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let document: Vec<Exported> = serde_json::from_slice(&output::data(&self.data)?)
            .context("Error! Cannot unmarshal data")?;
        let client = self.api.client()?;
        for entry in document {
            let key = format!("{}{}", self.prefix, entry.key);
            let value = STANDARD
                .decode(entry.value)
                .with_context(|| format!("Error! Cannot base64 decode value of {key}"))?;
            client
                .put(&super::path(&key), &[("flags", &entry.flags.to_string())], value.into())
                .await
                .with_context(|| format!("Error! Failed writing data for key {key}"))?;
            output::line(format!("Imported: {key}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
