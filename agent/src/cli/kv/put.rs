//! `lictor kv put`.

use std::process::ExitCode;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `kv put`.
#[derive(Debug, clap::Args)]
pub struct KvPutVerb {
    /// The value is base64
    #[arg(long)]
    base64: bool,
    /// Write only if the key's ModifyIndex is that of -modify-index
    #[arg(long)]
    cas: bool,
    /// A number to keep with the key
    #[arg(long, default_value_t = 0)]
    flags: u64,
    /// Lock the key for -session
    #[arg(long)]
    acquire: bool,
    /// Unlock the key, which -session must hold
    #[arg(long)]
    release: bool,
    /// ID of the session for -acquire and -release
    #[arg(long, default_value = "")]
    session: String,
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
  lictor kv put -cas -modify-index=844 app/version 2
  lictor kv put -acquire -session=4ca8e74b-6350-7587-addf-a18084928f3c app/lock";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if (self.acquire || self.release) && self.session.is_empty() {
            anyhow::bail!("Error! Missing -session (required with -acquire and -release)");
        }
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
        if self.acquire {
            query.push(("acquire", &self.session));
        }
        if self.release {
            query.push(("release", &self.session));
        }
        let key = &self.key;
        let answer = self
            .api
            .client()?
            .put(&super::path(key), &query, value.into())
            .await
            .context("Error! Failed writing data")?;
        let written = answer.text().trim() == "true";
        let text = match (self.acquire, self.release, written) {
            (true, _, true) => format!("Success! Lock acquired on: {key}"),
            (true, _, false) => "Error! Did not acquire lock".to_owned(),
            (_, true, true) => format!("Success! Lock released on: {key}"),
            (_, true, false) => "Error! Did not release lock".to_owned(),
            (_, _, true) => format!("Success! Data written to: {key}"),
            (_, _, false) => format!("Error! Did not write to {key}: CAS failed"),
        };
        if !written {
            output::error_line(text);
            return Ok(ExitCode::FAILURE);
        }
        output::line(text);
        Ok(ExitCode::SUCCESS)
    }
}
