//! `lictor keyring`: the keys that gossip is encrypted with.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, bail};
use http::Method;
use serde::Deserialize;

use super::{Verb, api_flags::AgentFlags, output};

/// Flags of `keyring`.
#[derive(Debug, clap::Args)]
pub struct KeyringVerb {
    /// Accept a new key on all agents
    #[arg(long)]
    install: Option<String>,
    /// Encrypt with an installed key on all agents
    #[arg(long = "use")]
    select: Option<String>,
    /// Refuse a key on all agents; not the one in use
    #[arg(long)]
    remove: Option<String>,
    /// List the keys and on how many agents they are
    #[arg(long)]
    list: bool,
    /// List the keys in use
    #[arg(long)]
    list_primary: bool,
    /// Over how many other agents each response is also relayed, 0 to 5
    #[arg(long, default_value_t = 0)]
    relay_factor: u8,
    /// List the keys of this agent only
    #[arg(long)]
    local_only: bool,
    #[command(flatten)]
    api: AgentFlags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ring {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    #[serde(default)]
    messages: BTreeMap<String, String>,
    keys: BTreeMap<String, usize>,
    primary_keys: BTreeMap<String, usize>,
    num_nodes: usize,
}

impl Verb for KeyringVerb {
    const PATH: &'static str = "keyring";
    const ABOUT: &'static str = "Manage the keys that gossip is encrypted with";
    const DETAILS: &'static str = "\
A new key is installed everywhere first, then used, then the old one is removed:
  lictor keyring -install KEY
  lictor keyring -use KEY
  lictor keyring -remove OLD
`lictor keygen` makes keys.";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let changes = [
            (Method::POST, &self.install, "Installing new gossip encryption key..."),
            (Method::PUT, &self.select, "Changing primary gossip encryption key..."),
            (Method::DELETE, &self.remove, "Removing gossip encryption key..."),
        ];
        let lists = usize::from(self.list) + usize::from(self.list_primary);
        let chosen: Vec<_> = changes
            .into_iter()
            .filter_map(|(method, key, label)| key.clone().map(|key| (method, key, label)))
            .collect();
        match (chosen.into_iter().next(), self.actions() + lists) {
            (_, actions) if actions != 1 => {
                bail!(
                    "Exactly one of -install, -use, -remove, -list and -list-primary must be given"
                )
            }
            (Some((method, key, label)), _) => self.change(method, &key, label).await,
            (None, _) => self.print().await,
        }
    }
}

impl KeyringVerb {
    fn actions(&self) -> usize {
        [&self.install, &self.select, &self.remove].iter().filter(|key| key.is_some()).count()
    }

    async fn change(&self, method: Method, key: &str, label: &str) -> anyhow::Result<ExitCode> {
        if self.local_only {
            bail!("local-only can only be used with -list and -list-primary");
        }
        output::line(format!("==> {label}"));
        let relays = self.relay_factor.to_string();
        let body = serde_json::to_vec(&serde_json::json!({ "Key": key }))?;
        self.api
            .client()?
            .send(method, "/v1/operator/keyring", &[("relay-factor", &relays)], body.into())
            .await
            .and_then(lictor_api::client::Answer::success)
            .context("error")?;
        Ok(ExitCode::SUCCESS)
    }

    async fn print(&self) -> anyhow::Result<ExitCode> {
        let relays = self.relay_factor.to_string();
        let mut query = vec![("relay-factor", relays.as_str())];
        if self.local_only {
            query.push(("local-only", "true"));
        }
        let rings: Vec<Ring> =
            self.api.client()?.get_json("/v1/operator/keyring", &query).await.context("error")?;
        output::line("==> Gathering installed encryption keys...");
        for ring in rings {
            let pool =
                if ring.wan { "WAN".to_owned() } else { format!("{} (LAN)", ring.datacenter) };
            output::line(format!("\n{pool}:"));
            for (node, message) in &ring.messages {
                output::line(format!("  ===> {node}: {message}"));
            }
            let keys = if self.list_primary { &ring.primary_keys } else { &ring.keys };
            for (key, count) in keys {
                output::line(format!("  {key} [{count}/{}]", ring.num_nodes));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
