//! `lictor intention create`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::Context;
use http::StatusCode;
use lictor_api::{client::Client, types::intention::Intention, wire};

use super::super::{Verb, api_flags::ApiFlags, output};

/// Flags of `intention create`.
#[derive(Debug, clap::Args)]
pub struct CreateVerb {
    /// Allow the source (the default)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    allow: bool,
    /// Deny the source
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    deny: bool,
    /// The arguments are files with intentions as JSON
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    file: bool,
    /// Replace an intention with the same source and destination
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    replace: bool,
    /// Meta as key=value; may be given several times
    #[arg(long)]
    meta: Vec<String>,
    /// SOURCE DESTINATION, or files with -file
    #[arg(required = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for CreateVerb {
    const PATH: &'static str = "intention create";
    const ABOUT: &'static str = "Allow or deny connections from one service to another";
    const DETAILS: &'static str = "\
Examples:
  lictor intention create web db
  lictor intention create -deny '*' db
  lictor intention create -replace -deny web db";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.allow && self.deny {
            anyhow::bail!("Only one of -allow or -deny may be specified.");
        }
        let client = self.api.client()?;
        for intention in self.intentions()? {
            self.create(&client, &intention).await.with_context(|| {
                format!("Error creating intention {:?}", super::describe(&intention))
            })?;
            output::line(format!("Created: {}", super::describe(&intention)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl CreateVerb {
    fn intentions(&self) -> anyhow::Result<Vec<Intention>> {
        if self.file {
            return self.arguments.iter().map(|path| read(&PathBuf::from(path))).collect();
        }
        let [source, destination] = &self.arguments[..] else {
            anyhow::bail!("Must specify two arguments: source and destination");
        };
        let mut meta = BTreeMap::new();
        for pair in &self.meta {
            let (key, value) =
                pair.split_once('=').with_context(|| format!("-meta {pair:?} is not key=value"))?;
            meta.insert(key.to_owned(), value.to_owned());
        }
        Ok(vec![Intention {
            source_name: source.clone(),
            destination_name: destination.clone(),
            source_type: "consul".to_owned(),
            action: Some(super::action(self.deny)),
            meta,
            ..Intention::default()
        }])
    }

    async fn create(&self, client: &Client, intention: &Intention) -> anyhow::Result<()> {
        let query = [
            ("source", intention.source_name.as_str()),
            ("destination", intention.destination_name.as_str()),
        ];
        if !self.replace {
            let existing = client.get("/v1/connect/intentions/exact", &query).await?;
            if existing.status != StatusCode::NOT_FOUND {
                let existing: Intention = existing.success()?.json()?;
                anyhow::bail!("{} exists already; use -replace", super::describe(&existing));
            }
        }
        client.put_json("/v1/connect/intentions/exact", &query, intention).await?;
        Ok(())
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Intention> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    wire::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}
