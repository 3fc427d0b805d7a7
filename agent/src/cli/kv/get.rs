//! `lictor kv get`.

use std::process::ExitCode;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use lictor_api::{client::Client, types::kv::KvPair};

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `kv get`.
#[derive(Debug, clap::Args)]
pub struct KvGetVerb {
    /// Print values as base64
    #[arg(long)]
    base64: bool,
    /// Print indexes, flags and session too
    #[arg(long)]
    detailed: bool,
    /// Print the names of keys that begin with the argument
    #[arg(long)]
    keys: bool,
    /// Print all keys that begin with the argument
    #[arg(long)]
    recurse: bool,
    /// With -keys: list names up to this text
    #[arg(long, default_value = "/")]
    separator: String,
    /// The key or prefix
    #[arg(default_value = "")]
    key: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for KvGetVerb {
    const PATH: &'static str = "kv get";
    const ABOUT: &'static str = "Read keys";
    const DETAILS: &'static str = "\
Examples:
  lictor kv get app/version
  lictor kv get -detailed app/version
  lictor kv get -recurse app/
  lictor kv get -keys app/";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.api.client()?;
        if self.keys {
            return self.list_names(&client).await;
        }
        if self.key.is_empty() && !self.recurse {
            output::error_line("Error! Missing KEY argument");
            return Ok(ExitCode::FAILURE);
        }
        let query: &[(&str, &str)] = if self.recurse { &[("recurse", "")] } else { &[] };
        let answer = client
            .get(&super::path(&self.key), query)
            .await
            .context("Error querying Consul agent")?;
        let missing = answer.status == StatusCode::NOT_FOUND;
        if missing && !self.recurse {
            output::error_line(format!("Error! No key exists at: {}", self.key));
            return Ok(ExitCode::FAILURE);
        }
        let pairs: Vec<KvPair> = if missing { Vec::new() } else { answer.success()?.json()? };
        for (i, pair) in pairs.iter().enumerate() {
            self.print(pair, i > 0)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl KvGetVerb {
    async fn list_names(&self, client: &Client) -> anyhow::Result<ExitCode> {
        let query = [("keys", ""), ("separator", self.separator.as_str())];
        let answer = client
            .get(&super::path(&self.key), &query)
            .await
            .context("Error querying Consul agent")?;
        if answer.status != StatusCode::NOT_FOUND {
            for name in answer.success()?.json::<Vec<String>>()? {
                output::line(name);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, pair: &KvPair, apart: bool) -> anyhow::Result<()> {
        let value = if self.base64 {
            STANDARD.encode(&pair.value).into_bytes()
        } else {
            pair.value.to_vec()
        };
        if self.detailed {
            if apart {
                output::line("");
            }
            let session = if pair.session.is_empty() { "-" } else { &pair.session };
            for (name, text) in [
                ("CreateIndex", pair.create_index.to_string()),
                ("Flags", pair.flags.to_string()),
                ("Key", pair.key.clone()),
                ("LockIndex", pair.lock_index.to_string()),
                ("ModifyIndex", pair.modify_index.to_string()),
                ("Session", session.to_owned()),
                ("Value", String::from_utf8_lossy(&value).into_owned()),
            ] {
                output::line(format!("{name:<17}{text}"));
            }
            return Ok(());
        }
        if self.recurse {
            return output::value(&[pair.key.as_bytes(), b":", &value].concat());
        }
        output::value(&value)
    }
}
