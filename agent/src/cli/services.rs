//! `lictor services ...`: registering on the local agent.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use bytes::Bytes;
use lictor_api::types::agent::ServiceDefinition;

use super::{Verb, api_flags::ApiFlags, output};

/// Flags of `services register`.
#[derive(Debug, clap::Args)]
pub struct RegisterVerb {
    /// Name of the service
    #[arg(long)]
    name: Option<String>,
    /// ID; the name by default
    #[arg(long)]
    id: Option<String>,
    /// Address; the agent's by default
    #[arg(long)]
    address: Option<String>,
    /// Port
    #[arg(long)]
    port: Option<u16>,
    /// Tag; may be given several times
    #[arg(long)]
    tag: Vec<String>,
    /// Meta as key=value; may be given several times
    #[arg(long)]
    meta: Vec<String>,
    /// Files with service definitions, instead of flags
    files: Vec<PathBuf>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for RegisterVerb {
    const PATH: &'static str = "services register";
    const ABOUT: &'static str = "Register services on the local agent";
    const DETAILS: &'static str = "\
Examples:
  lictor services register -name=web -port=80
  lictor services register web.json";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let services =
            if self.files.is_empty() { vec![self.definition()?] } else { read(&self.files)? };
        let client = self.api.client()?;
        for service in services {
            let name = service.name.clone();
            client
                .put_json("/v1/agent/service/register", &[], &service)
                .await
                .with_context(|| format!("Error registering service {name:?}"))?;
            output::line(format!("Registered service: {name}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl RegisterVerb {
    fn definition(&self) -> anyhow::Result<ServiceDefinition> {
        let name =
            self.name.as_deref().context("Service name is required: give -name or a file")?;
        let mut meta = std::collections::BTreeMap::new();
        for pair in &self.meta {
            let (key, value) =
                pair.split_once('=').with_context(|| format!("-meta {pair:?} is not key=value"))?;
            meta.insert(key.to_owned(), value.to_owned());
        }
        Ok(ServiceDefinition {
            name: name.into(),
            id: self.id.as_deref().unwrap_or_default().into(),
            address: self.address.clone().unwrap_or_default(),
            port: self.port.unwrap_or(0),
            tags: self.tag.clone(),
            meta,
            ..ServiceDefinition::default()
        })
    }
}

/// Flags of `services deregister`.
#[derive(Debug, clap::Args)]
pub struct DeregisterVerb {
    /// ID of the service
    #[arg(long)]
    id: Option<String>,
    /// Files with service definitions, instead of -id
    files: Vec<PathBuf>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for DeregisterVerb {
    const PATH: &'static str = "services deregister";
    const ABOUT: &'static str = "Deregister services from the local agent";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let ids: Vec<String> = match self.id {
            Some(id) => vec![id],
            None => read(&self.files)?
                .into_iter()
                .map(|service| {
                    if service.id.is_empty() {
                        service.name.to_string()
                    } else {
                        service.id.to_string()
                    }
                })
                .collect(),
        };
        if ids.is_empty() {
            anyhow::bail!("Service ID is required: give -id or a file");
        }
        let client = self.api.client()?;
        for id in ids {
            client
                .put(&format!("/v1/agent/service/deregister/{id}"), &[], Bytes::new())
                .await
                .with_context(|| format!("Error deregistering service {id:?}"))?;
            output::line(format!("Deregistered service: {id}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(files: &[PathBuf]) -> anyhow::Result<Vec<ServiceDefinition>> {
    Ok(lictor_config::files::load(files)?.services)
}
