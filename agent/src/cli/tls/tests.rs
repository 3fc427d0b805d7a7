use std::os::unix::fs::PermissionsExt;

use lictor_transport::tls::role::{self, Role};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::*;
use crate::cli::go_flags::tests::parse;

fn ca(dir: &Path, words: &[&str]) -> anyhow::Result<()> {
    parse::<ca::CreateVerb>(words)?.create(dir)
}

fn cert(dir: &Path, words: &[&str]) -> anyhow::Result<()> {
    parse::<cert::CreateVerb>(words)?.create(dir)
}

fn files(dir: &Path) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    files
}

fn role_in(dir: &Path, file: &str) -> Role {
    let der = CertificateDer::from_pem_file(dir.join(file)).unwrap();
    role::of_certificates(&[der], "consul")
}

#[test]
fn authority_and_certificates_go_to_consuls_files_and_keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    ca(dir.path(), &[]).unwrap();
    cert(dir.path(), &["-server", "-node", "n1"]).unwrap();
    cert(dir.path(), &["-server", "-dc=dc1", "-additional-ipaddress", "10.0.0.2"]).unwrap();
    cert(dir.path(), &["-client"]).unwrap();
    cert(dir.path(), &["-cli", "-days", "9000"]).unwrap();
    assert_eq!(
        files(dir.path()),
        [
            "consul-agent-ca-key.pem",
            "consul-agent-ca.pem",
            "dc1-cli-consul-0-key.pem",
            "dc1-cli-consul-0.pem",
            "dc1-client-consul-0-key.pem",
            "dc1-client-consul-0.pem",
            "dc1-server-consul-0-key.pem",
            "dc1-server-consul-0.pem",
            "dc1-server-consul-1-key.pem",
            "dc1-server-consul-1.pem",
        ]
    );
    for file in files(dir.path()) {
        let mode = fs::metadata(dir.path().join(&file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077 == 0, file.contains("-key"), "{file} has mode {mode:o}");
    }
    let server = Role::Server { datacenter: "dc1".to_owned() };
    assert_eq!(role_in(dir.path(), "dc1-server-consul-0.pem"), server);
    assert_eq!(role_in(dir.path(), "dc1-server-consul-1.pem"), server);
    assert_eq!(role_in(dir.path(), "dc1-client-consul-0.pem"), Role::Client);
    assert_eq!(role_in(dir.path(), "dc1-cli-consul-0.pem"), Role::Client);
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    ca(dir.path(), &["-domain", "mesh.example"]).unwrap();
    let before = fs::read(dir.path().join("mesh.example-agent-ca.pem")).unwrap();
    let error = ca(dir.path(), &["-domain", "mesh.example"]).unwrap_err().to_string();
    assert_eq!(error, "mesh.example-agent-ca.pem already exists.");
    assert_eq!(fs::read(dir.path().join("mesh.example-agent-ca.pem")).unwrap(), before);

    fs::remove_file(dir.path().join("mesh.example-agent-ca.pem")).unwrap();
    let error = ca(dir.path(), &["-domain", "mesh.example"]).unwrap_err().to_string();
    assert_eq!(error, "mesh.example-agent-ca-key.pem already exists.");
    assert_eq!(files(dir.path()), ["mesh.example-agent-ca-key.pem"], "nothing half made is left");
}

#[test]
fn openssl_verifies_what_was_signed() {
    let dir = tempfile::tempdir().unwrap();
    ca(dir.path(), &["-name-constraint"]).unwrap();
    cert(dir.path(), &["-server"]).unwrap();
    let verified = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-verify_hostname", "server.dc1.consul"])
        .args(["-CAfile", "consul-agent-ca.pem", "dc1-server-consul-0.pem"])
        .current_dir(dir.path())
        .output();
    let Ok(verified) = verified else {
        println!("skipped: there is no openssl");
        return;
    };
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn an_authority_made_by_openssl_signs_too() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/C=US/O=Example Inc./CN=Agent CA", "-keyout"])
        .args(["ca-key.pem", "-out", "ca.pem"])
        .current_dir(dir.path())
        .output();
    if made.is_err() {
        println!("skipped: there is no openssl");
        return;
    }
    cert(dir.path(), &["-server", "-ca", "ca.pem", "-key", "ca-key.pem"]).unwrap();
    let verified = std::process::Command::new("openssl")
        .args(["verify", "-CAfile", "ca.pem", "dc1-server-consul-0.pem"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn each_bad_flag_is_named_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = cert(dir.path(), &["-server"]).unwrap_err();
    assert!(format!("{error:#}").contains("reading consul-agent-ca.pem"), "{error:#}");
    ca(dir.path(), &[]).unwrap();
    for (words, text) in [
        (&[][..], "Please provide either -server, -client, or -cli"),
        (&["-server", "-client"], "only one of"),
        (&["-client", "-node", "n1"], "-node requires -server"),
        (&["-server", "-dc", "a/b"], "-dc \"a/b\""),
        (&["-server", "-dc", "*"], "-dc \"*\""),
        (&["-server", "-domain", ""], "-domain \"\""),
        (&["-server", "-days", "0"], "-days must be at least 1"),
        (&["-server", "-days", "99999999999999"], "-days must be at most"),
        (&["-client", "-additional-dnsname", "server.dc1.consul"], "is a server's name"),
        (&["-cli", "-additional-dnsname", "*.dc1.consul"], "is a server's name"),
        (&["-server", "-key", "consul-agent-ca.pem"], "not a private key"),
        (&["-server", "-ca", "consul-agent-ca-key.pem"], "not a certificate"),
    ] {
        let error = format!("{:#}", cert(dir.path(), words).unwrap_err());
        assert!(error.contains(text), "{words:?}: {error}");
    }
    assert_eq!(files(dir.path()).len(), 2);
}
