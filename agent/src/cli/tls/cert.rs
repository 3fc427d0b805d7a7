//! `lictor tls cert create`.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use lictor_api::contract::{DEFAULT_DATACENTER, DEFAULT_DOMAIN, server_name};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{Pair, check_name, params};
use crate::cli::{Verb, output};

/// Placeholder of the domain in the default names of the authority's files.
const DOMAIN: &str = "#DOMAIN#";

/// Flags of `tls cert create`.
#[derive(Debug, clap::Args)]
pub struct CreateVerb {
    /// A certificate for a server
    #[arg(long)]
    server: bool,
    /// A certificate for a client agent
    #[arg(long)]
    client: bool,
    /// A certificate for the command line
    #[arg(long)]
    cli: bool,
    /// Datacenter
    #[arg(long, default_value = DEFAULT_DATACENTER)]
    dc: String,
    /// DNS domain of the agents
    #[arg(long, default_value = DEFAULT_DOMAIN)]
    domain: String,
    /// Node name of the server, for a name of its own
    #[arg(long)]
    node: Option<String>,
    /// Days until the certificate ends; never later than the authority
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// One more DNS name; may be given several times
    #[arg(long)]
    additional_dnsname: Vec<String>,
    /// One more address; may be given several times
    #[arg(long)]
    additional_ipaddress: Vec<IpAddr>,
    /// File of the authority
    #[arg(long, default_value = "#DOMAIN#-agent-ca.pem")]
    ca: String,
    /// File of the authority's key
    #[arg(long, default_value = "#DOMAIN#-agent-ca-key.pem")]
    key: String,
}

/// The role of a certificate's holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Client,
    Cli,
}

impl Verb for CreateVerb {
    const PATH: &'static str = "tls cert create";
    const ABOUT: &'static str = "Make a certificate for an agent";
    const DETAILS: &'static str = "\
Signs with the authority of 'tls ca create' in the current directory, and numbers the files.

Examples:
  lictor tls cert create -server -dc dc1 -node node1
  lictor tls cert create -client
  lictor tls cert create -cli";

    async fn run(self) -> anyhow::Result<ExitCode> {
        self.create(Path::new("."))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl CreateVerb {
    pub(super) fn create(&self, dir: &Path) -> anyhow::Result<()> {
        let kind = self.kind()?;
        self.check(kind)?;
        let (ca, key) =
            (self.ca.replace(DOMAIN, &self.domain), self.key.replace(DOMAIN, &self.domain));
        let (issuer, end) = authority(dir, &ca, &key)?;
        if kind == Kind::Server {
            output::line(
                "==> WARNING: the holder of a server's certificate can join the servers, and then \
                 read and\n    change everything, keys and tokens included. Give it to servers \
                 only, and keep\n    its key as safe as the authority's.",
            );
        }
        output::line(format!("==> Using {ca} and {key}"));

        let names = self.names(kind);
        let mut params = params(names.clone(), &names[0], self.days, Some(end))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match kind {
            Kind::Server | Kind::Client => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Kind::Cli => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let own = KeyPair::generate().context("making a key")?;
        let certificate = params.signed_by(&own, &issuer).context("signing the certificate")?;
        let prefix = self.free_prefix(dir, kind)?;
        Pair {
            certificate: (&format!("{prefix}.pem"), certificate.pem()),
            key: (&format!("{prefix}-key.pem"), own.serialize_pem()),
        }
        .save(dir)
    }

    fn kind(&self) -> anyhow::Result<Kind> {
        match (self.server, self.client, self.cli) {
            (true, false, false) => Ok(Kind::Server),
            (false, true, false) => Ok(Kind::Client),
            (false, false, true) => Ok(Kind::Cli),
            (false, false, false) => bail!("Please provide either -server, -client, or -cli"),
            _ => bail!("Please provide only one of -server, -client, and -cli"),
        }
    }

    fn check(&self, kind: Kind) -> anyhow::Result<()> {
        check_name("dc", &self.dc, false)?;
        check_name("domain", &self.domain, true)?;
        if let Some(node) = &self.node {
            if kind != Kind::Server {
                bail!("-node requires -server");
            }
            check_name("node", node, true)?;
        }
        for name in &self.additional_dnsname {
            check_name("additional-dnsname", name.strip_prefix("*.").unwrap_or(name), true)?;
            let lower = name.to_ascii_lowercase();
            if kind != Kind::Server && (lower.starts_with("server.") || lower.starts_with("*.")) {
                bail!("-additional-dnsname {name:?} is a server's name; only -server may carry it");
            }
        }
        Ok(())
    }

    /// Returns the certificate's names, that of its role first.
    fn names(&self, kind: Kind) -> Vec<String> {
        let server = server_name(&self.dc, &self.domain);
        let own = |kind: &str| format!("{kind}.{}.{}", self.dc, self.domain);
        let mut names = match kind {
            Kind::Server => vec![server.clone(), "localhost".to_owned()],
            Kind::Client => vec![own("client"), "localhost".to_owned()],
            Kind::Cli => vec![own("cli"), "localhost".to_owned()],
        };
        names.extend(self.node.iter().map(|node| format!("{node}.{server}")));
        names.extend(self.additional_dnsname.iter().cloned());
        if kind != Kind::Cli {
            names.push("127.0.0.1".to_owned());
        }
        names.extend(self.additional_ipaddress.iter().map(ToString::to_string));
        names
    }

    /// Finds the first free prefix of file names: `dc1-server-consul-0`, `dc1-server-consul-1`, ...
    fn free_prefix(&self, dir: &Path, kind: Kind) -> anyhow::Result<String> {
        let kind = match kind {
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Cli => "cli",
        };
        (0..100_000)
            .map(|number| format!("{}-{kind}-{}-{number}", self.dc, self.domain))
            .find(|prefix| {
                [".pem", "-key.pem"].iter().all(|suffix| {
                    fs::symlink_metadata(dir.join(format!("{prefix}{suffix}"))).is_err()
                })
            })
            .context("no free number for the certificate's files")
    }
}

/// Reads an authority. Also returns when it expires.
fn authority(
    dir: &Path,
    ca: &str,
    key: &str,
) -> anyhow::Result<(Issuer<'static, KeyPair>, SystemTime)> {
    let read = |name: &str| {
        fs::read_to_string(dir.join(name)).with_context(|| {
            format!("reading {name}; make an authority with 'lictor tls ca create'")
        })
    };
    let (pem, key_pem) = (read(ca)?, read(key)?);
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .with_context(|| format!("{ca} is not a certificate in PEM"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der)
        .with_context(|| format!("{ca} is not a certificate"))?;
    if !parsed.is_ca() {
        bail!("{ca} is not a certificate authority");
    }
    let end = UNIX_EPOCH
        + Duration::from_secs(parsed.validity().not_after.timestamp().max(0).cast_unsigned());
    if end <= SystemTime::now() {
        bail!("{ca} has expired; make a new authority");
    }
    let key_pair = KeyPair::from_pem(&key_pem)
        .with_context(|| format!("{key} is not a private key in PEM"))?;
    if rcgen::PublicKeyData::subject_public_key_info(&key_pair) != parsed.public_key().raw {
        bail!("{key} is not the key of {ca}");
    }
    let issuer = Issuer::from_ca_cert_der(&der, key_pair).with_context(|| format!("using {ca}"))?;
    Ok((issuer, end))
}
