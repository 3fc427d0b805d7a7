//! `lictor kv delete`.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `kv delete`.
#[derive(Debug, clap::Args)]
pub struct KvDeleteVerb {
    /// Delete only if the key's ModifyIndex is that of -modify-index
    #[arg(long)]
    cas: bool,
    /// ModifyIndex for -cas
    #[arg(long, default_value_t = 0)]
    modify_index: u64,
    /// Delete all keys that begin with the argument
    #[arg(long)]
    recurse: bool,
    /// The key or prefix
    key: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for KvDeleteVerb {
    const PATH: &'static str = "kv delete";
    const ABOUT: &'static str = "Delete keys";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.cas && (self.recurse || self.modify_index == 0) {
            anyhow::bail!("-cas needs -modify-index and cannot be combined with -recurse");
        }
        let index = self.modify_index.to_string();
        let mut query = Vec::new();
        if self.recurse {
            query.push(("recurse", ""));
        }
        if self.cas {
            query.push(("cas", index.as_str()));
        }
        let key = &self.key;
        let answer = self
            .api
            .client()?
            .delete(&super::path(key), &query)
            .await
            .context("Error! Failed deleting")?;
        if self.cas && answer.text().trim() != "true" {
            output::error_line(format!("Error! Did not delete key {key}: CAS failed"));
            return Ok(ExitCode::FAILURE);
        }
        output::line(if self.recurse {
            format!("Success! Deleted keys with prefix: {key}")
        } else {
            format!("Success! Deleted key: {key}")
        });
        Ok(ExitCode::SUCCESS)
    }
}
