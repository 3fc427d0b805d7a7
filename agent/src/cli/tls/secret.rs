//! `lictor tls secret create`: what the servers of a Kubernetes installation share, as a Secret.
//!
//! The chart's hook runs it before anything else is installed. One certificate serves all servers,
//! because its name distinguishes servers from other agents, and consensus distinguishes servers from
//! each other. The key that signed it is discarded, so that no further server can be made.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context;
use lictor_api::contract::{DEFAULT_DATACENTER, DEFAULT_DOMAIN, server_name};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{check_name, params};
use crate::{
    ca::install_crypto_provider,
    cli::{Verb, keygen, output},
    kubernetes,
};

/// Flags of `tls secret create`.
#[derive(Debug, clap::Args)]
pub struct CreateVerb {
    /// Name of the Secret
    #[arg(long)]
    name: String,
    /// Namespace of the Secret; the pod's own by default
    #[arg(long, default_value = "")]
    namespace: String,
    /// Datacenter
    #[arg(long, default_value = DEFAULT_DATACENTER)]
    dc: String,
    /// DNS domain of the agents
    #[arg(long, default_value = DEFAULT_DOMAIN)]
    domain: String,
    /// Days until authority and certificate end
    #[arg(long, default_value_t = 3650)]
    days: u64,
}

impl Verb for CreateVerb {
    const PATH: &'static str = "tls secret create";
    const ABOUT: &'static str = "Make the Secret that servers on Kubernetes share";
    const DETAILS: &'static str = "\
Creates a Secret with ca.pem, server.pem, server-key.pem and gossip.json (a configuration file with
a gossip key), unless there is one of this name. Runs inside of a pod, whose ServiceAccount may
create Secrets.

Example:
  lictor tls secret create -namespace lictor -name lictor-server-keys";

    async fn run(self) -> anyhow::Result<ExitCode> {
        install_crypto_provider();
        let data = self.data()?;
        let made = kubernetes::create_secret(&self.namespace, &self.name, data).await;
        let (namespace, made) = made.with_context(|| format!("making Secret {}", self.name))?;
        let what = if made { "made" } else { "is there already" };
        output::line(format!("==> Secret {namespace}/{} {what}", self.name));
        Ok(ExitCode::SUCCESS)
    }
}

impl CreateVerb {
    fn data(&self) -> anyhow::Result<BTreeMap<String, String>> {
        check_name("dc", &self.dc, false)?;
        check_name("domain", &self.domain, true)?;
        let ca_key = KeyPair::generate().context("making a key")?;
        let mut ca = params(Vec::new(), "lictor servers", self.days, None)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = ca.self_signed(&ca_key).context("signing the authority")?;
        let issuer = Issuer::from_ca_cert_der(authority.der(), ca_key);
        let issuer = issuer.context("using the authority")?;

        let name = server_name(&self.dc, &self.domain);
        let mut server = params(vec![name.clone()], &name, self.days, None)?;
        server.is_ca = IsCa::ExplicitNoCa;
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().context("making a key")?;
        let certificate = server.signed_by(&key, &issuer).context("signing the certificate")?;

        let gossip = serde_json::json!({ "encrypt": keygen::make()?.expose_base64() });
        let files = [
            ("ca.pem", authority.pem()),
            ("server.pem", certificate.pem()),
            ("server-key.pem", key.serialize_pem()),
            ("gossip.json", gossip.to_string()),
        ];
        Ok(files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect())
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use super::*;
    use lictor_config::runtime::GossipKey;
    use lictor_transport::tls::role::{self, Role};

    fn data(dc: &str) -> BTreeMap<String, String> {
        let verb = CreateVerb {
            name: "keys".to_owned(),
            namespace: String::new(),
            dc: dc.to_owned(),
            domain: "consul".to_owned(),
            days: 3650,
        };
        verb.data().unwrap()
    }

    #[test]
    fn the_certificate_is_a_servers_and_signed_by_the_authority() {
        let data = data("tokyo");
        let read = |name: &str| CertificateDer::from_pem_slice(data[name].as_bytes()).unwrap();
        let (ca, server) = (read("ca.pem"), read("server.pem"));
        let expected = Role::Server { datacenter: "tokyo".to_owned() };
        assert_eq!(role::of_certificates(std::slice::from_ref(&server), "consul"), expected);
        let (_, ca) = x509_parser::parse_x509_certificate(&ca).unwrap();
        let (_, server) = x509_parser::parse_x509_certificate(&server).unwrap();
        assert!(server.verify_signature(Some(ca.public_key())).is_ok());
        let key = KeyPair::from_pem(&data["server-key.pem"]);
        let key = rcgen::PublicKeyData::subject_public_key_info(&key.unwrap());
        assert_eq!(key, server.public_key().raw);
    }

    #[test]
    fn every_installation_has_a_gossip_key_of_its_own() {
        let key = || {
            let json: serde_json::Value =
                serde_json::from_str(&data("dc1")["gossip.json"]).unwrap();
            GossipKey::from_base64(json["encrypt"].as_str().unwrap()).unwrap()
        };
        assert_ne!(key(), key());
    }
}
