//! `lictor tls ca create`.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use lictor_api::contract::DEFAULT_DOMAIN;
use rcgen::{BasicConstraints, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints};

use super::{Pair, check_name, params};
use crate::cli::Verb;

/// Flags of `tls ca create`.
#[derive(Debug, clap::Args)]
pub struct CreateVerb {
    /// Days until the authority ends
    #[arg(long, default_value_t = 1825)]
    days: u64,
    /// DNS domain of the agents; names the files
    #[arg(long, default_value = DEFAULT_DOMAIN)]
    domain: String,
    /// Common name; one with random digits by default
    #[arg(long)]
    common_name: Option<String>,
    /// Let the authority sign names of the domain and localhost only
    #[arg(long)]
    name_constraint: bool,
    /// DNS name that it may sign too; may be given several times, implies -name-constraint
    #[arg(long)]
    additional_name_constraint: Vec<String>,
}

impl Verb for CreateVerb {
    const PATH: &'static str = "tls ca create";
    const ABOUT: &'static str = "Make a certificate authority for agents";
    const DETAILS: &'static str = "\
Writes consul-agent-ca.pem, which every agent trusts, and consul-agent-ca-key.pem, which signs:
keep it away from agents. Existing files are never overwritten.

Examples:
  lictor tls ca create
  lictor tls cert create -server -dc dc1";

    async fn run(self) -> anyhow::Result<ExitCode> {
        self.create(Path::new("."))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl CreateVerb {
    pub(super) fn create(&self, dir: &Path) -> anyhow::Result<()> {
        check_name("domain", &self.domain, true)?;
        let common_name = self
            .common_name
            .clone()
            .unwrap_or_else(|| format!("Agent CA {:032x}", rand::random::<u128>()));
        let mut params = params(Vec::new(), &common_name, self.days, None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        if self.name_constraint || !self.additional_name_constraint.is_empty() {
            let names = [&self.domain, &"localhost".to_owned()]
                .into_iter()
                .chain(&self.additional_name_constraint)
                .map(|name| GeneralSubtree::DnsName(name.clone()))
                .collect();
            params.name_constraints =
                Some(NameConstraints { permitted_subtrees: names, excluded_subtrees: Vec::new() });
        }
        let key = KeyPair::generate().context("making a key")?;
        let certificate = params.self_signed(&key).context("signing the authority")?;
        Pair {
            certificate: (&format!("{}-agent-ca.pem", self.domain), certificate.pem()),
            key: (&format!("{}-agent-ca-key.pem", self.domain), key.serialize_pem()),
        }
        .save(dir)
    }
}
