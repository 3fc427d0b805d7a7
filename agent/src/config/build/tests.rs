use std::path::Path;

use super::*;
use crate::config::files;

fn configured(json: &str, dev: bool) -> Result<RuntimeConfig, ConfigError> {
    build(files::parse(Path::new("x.json"), json).unwrap(), dev, Vec::new())
}

#[test]
fn dev_needs_nothing_and_listens_on_loopback() {
    let config = configured("{}", true).unwrap();
    assert!(config.server && config.data_dir.is_none() && config.pretty_json);
    assert_eq!(config.listen.http, ["127.0.0.1:8500".parse().unwrap()]);
    assert_eq!(config.listen.grpc, ["127.0.0.1:8502".parse().unwrap()]);
    assert_eq!(config.listen.dns, ["127.0.0.1:8600".parse().unwrap()]);
    assert!(config.listen.https.is_empty());
    assert_eq!(config.advertise_addr.to_string(), "127.0.0.1");
}

#[test]
fn the_tutorials_files_are_understood() {
    let config = configured(
        r#"{"datacenter":"home","data_dir":"/tmp/x","ui_dir":"/none","server":true,"domain":"consul.",
            "bootstrap_expect":1,"bind_addr":"192.0.2.1","client_addr":"0.0.0.0","log_level":"INFO",
            "ports":{"https":8080,"dns":53},"start_join":["192.0.2.1"]}"#,
        false,
    )
    .unwrap();
    assert_eq!((config.datacenter.as_str(), config.domain.as_str()), ("home", "consul"));
    assert_eq!(config.listen.dns, ["0.0.0.0:53".parse().unwrap()]);
    assert_eq!(config.listen.https, ["0.0.0.0:8080".parse().unwrap()]);
    assert!(config.warnings.iter().any(|warning| warning.contains("start_join")));
    assert!(config.warnings.iter().any(|warning| warning.contains("ui_dir")));
}

#[test]
fn addresses_may_be_several_and_unix_sockets() {
    let config = configured(
        r#"{"client_addr":"127.0.0.1 ::1","addresses":{"http":"unix:///run/x.sock 127.0.0.2"},"ports":{"grpc":-1}}"#,
        true,
    )
    .unwrap();
    assert_eq!(config.listen.http, ["127.0.0.2:8500".parse().unwrap()]);
    assert_eq!(config.listen.http_unix, [PathBuf::from("/run/x.sock")]);
    assert_eq!(config.listen.dns.len(), 2);
    assert!(config.listen.grpc.is_empty());
}

#[test]
fn each_bad_value_is_named_with_its_key() {
    for (json, words) in [
        (r#"{"bind_addr":"nonsense"}"#, "bind_addr \"nonsense\""),
        (r#"{"ports":{"http":70000}}"#, "ports.http 70000"),
        (r#"{"datacenter":"a b"}"#, "datacenter \"a b\""),
        (r#"{"log_level":"loud"}"#, "log_level \"loud\""),
        (r#"{"bootstrap_expect":3}"#, "bootstrap_expect is 3"),
        (r#"{"connect":{"ca_config":{"leaf_cert_ttl":"1s"}}}"#, "leaf_cert_ttl is 1s"),
        (r#"{"default_intention_policy":"maybe"}"#, "\"maybe\""),
        (r#"{"recursors":["dns.example"]}"#, "\"dns.example\""),
        (r#"{"node_meta":{"consul-x":"1"}}"#, "consul-x"),
        (r#"{"kubernetes":{"enabled":true}}"#, "kubernetes.operator_service_account"),
    ] {
        let error = configured(json, true).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}

#[test]
fn a_server_needs_a_data_directory() {
    assert!(matches!(configured(r#"{"server":true}"#, false), Err(ConfigError::DataDir)));
    assert!(matches!(configured(r#"{"data_dir":"/tmp/x"}"#, false), Err(ConfigError::ClientAgent)));
}
