//! `lictor kv put`.

use std::process::ExitCode;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::{Verb, api_flags::ApiFlags, output};

/// Flags of `kv put`.
#[derive(Debug, clap::Args)]
pub struct KvPutVerb {
    /// The value is base64
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    base64: bool,
    /// Write only if the key's ModifyIndex is that of -modify-index
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    cas: bool,
    /// A number to keep with the key
    #[arg(long, default_value_t = 0)]
    flags: u64,
    /// ModifyIndex for -cas; 0: the key must not exist
    #[arg(long, default_value_t = 0)]
    modify_index: u64,
    /// The key
    key: String,
    /// The value; @file is a file's content, - is stdin
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for KvPutVerb {
    const PATH: &'static str = "kv put";
    const ABOUT: &'static str = "Write a key";
    const DETAILS: &'static str = "\
Examples:
  lictor kv put redis/config/minconns 1
  lictor kv put app/config @config.json
  lictor kv put -cas -modify-index=844 app/version 2";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut value = output::data(self.value.as_deref().unwrap_or_default())?;
        if self.base64 {
            value =
                STANDARD.decode(value.trim_ascii()).context("Error! Cannot base64 decode data")?;
        }
        let (flags, index) = (self.flags.to_string(), self.modify_index.to_string());
        let mut query = vec![("flags", flags.as_str())];
        if self.cas {
            query.push(("cas", &index));
        }
        let key = &self.key;
        let answer = self
            .api
            .client()?
            .put(&super::path(key), &query, value.into())
            .await
            .context("Error! Failed writing data")?;
        if answer.text().trim() != "true" {
            output::error_line(format!("Error! Did not write to {key}: CAS failed"));
            return Ok(ExitCode::FAILURE);
        }
        output::line(format!("Success! Data written to: {key}"));
        Ok(ExitCode::SUCCESS)
    }
}
