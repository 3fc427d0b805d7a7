use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::*;

fn certificate(names: &[&str], uris: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
    params.subject_alt_names.extend(uris);
    params.distinguished_name.push(DnType::CommonName, "server.dc1.consul");
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

fn role(names: &[&str], uris: &[&str]) -> Role {
    of_certificates(&[certificate(names, uris)], "consul")
}

fn server(datacenter: &str) -> Role {
    Role::Server { datacenter: datacenter.to_owned() }
}

#[test]
fn a_server_is_who_is_called_one() {
    assert_eq!(role(&["server.dc1.consul"], &[]), server("dc1"));
    assert_eq!(
        role(&["localhost", "n1.server.dc1.consul", "SERVER.DC1.Consul"], &[]),
        server("dc1")
    );
    assert_eq!(role(&["server.eu-west_1.consul", "127.0.0.1"], &[]), server("eu-west_1"));
    let named = [certificate(&["server.dc1.mesh.example"], &[])];
    assert_eq!(of_certificates(&named, "mesh.example"), server("dc1"));
    assert_eq!(of_certificates(&named, "example"), Role::Client);
}

#[test]
fn whatever_is_not_exactly_a_servers_name_is_a_clients() {
    for names in [
        &["client.dc1.consul"][..],
        &["localhost"],
        &[],
        &["*.dc1.consul"],
        &["server.*.consul"],
        &["*.consul"],
        &["n1.server.dc1.consul"],
        &["server.consul"],
        &["server..consul"],
        &["server.dc1.consul.example"],
        &["server.a.b.consul"],
        &["server.dc1.xconsul"],
        &["xserver.dc1.consul"],
        &["server.dc1.consul", "server.dc2.consul"],
        &["server.dc1.consul", "client.dc1.consul"],
        &["server.dc1.consul", "cli.dc1.consul"],
    ] {
        assert_eq!(role(names, &[]), Role::Client, "{names:?}");
    }
}

#[test]
fn a_certificate_of_the_mesh_is_never_a_servers() {
    let agent = "spiffe://td.consul/agent/client/dc/dc1/id/n1";
    let service = "spiffe://td.consul/ns/default/dc/dc1/svc/server";
    assert_eq!(role(&["server.dc1.consul"], &[agent]), Role::Client);
    assert_eq!(role(&["localhost"], &[agent]), Role::Client);
    for uris in [&[service][..], &[agent, service], &[agent, agent], &["https://server.dc1.consul"]]
    {
        assert_eq!(role(&["server.dc1.consul"], uris), Role::Unauthenticated, "{uris:?}");
    }
}

#[test]
fn only_the_first_certificate_counts_and_none_is_nobody() {
    let chain =
        [certificate(&["client.dc1.consul"], &[]), certificate(&["server.dc1.consul"], &[])];
    assert_eq!(of_certificates(&chain, "consul"), Role::Client);
    assert_eq!(of_certificates(&[], "consul"), Role::Unauthenticated);
    let torn = [CertificateDer::from(chain[1][..40].to_vec())];
    assert_eq!(of_certificates(&torn, "consul"), Role::Unauthenticated);
}

#[test]
fn a_role_permits_what_is_its_own() {
    assert!(server("dc1").is_server_of("dc1") && !server("dc1").is_server_of("dc2"));
    assert!(!Role::Client.is_server_of("dc1") && Role::Client.is_agent());
    assert!(!Role::Unauthenticated.is_agent() && !Role::Unauthenticated.is_server_of("dc1"));
    assert!(Role::Open.is_server_of("dc1") && Role::Open.is_agent());
}

#[test]
fn without_name_checks_a_client_is_still_no_server() {
    for (names, uris, refused) in [
        (&["server.dc1.consul"][..], &[][..], false),
        (&["some.example"], &[], false),
        (&["client.dc1.consul"], &[], true),
        (&["cli.dc2.consul", "localhost"], &[], true),
        (&["server.dc1.consul"], &["spiffe://td/agent/client/dc/dc1/id/n1"], true),
    ] {
        assert_eq!(is_no_server(&certificate(names, uris), "consul"), refused, "{names:?}");
    }
}
