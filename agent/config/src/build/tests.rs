//! Values that are accepted, their defaults, and values that are rejected with their key.

use std::path::Path;

use super::super::files;
use super::{runtime::Rate, *};

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
        (r#"{"bootstrap_expect":3}"#, "not allowed in dev mode"),
        (r#"{"bootstrap_expect":-1}"#, "bootstrap_expect cannot be -1"),
        (r#"{"ports":{"serf_lan":-1}}"#, "ports.serf_lan is -1"),
        (r#"{"advertise_addr":"0.0.0.0"}"#, "advertise_addr cannot be 0.0.0.0"),
        (r#"{"advertise_addr_ipv6":"192.0.2.1"}"#, "advertise_addr_ipv6 192.0.2.1"),
        (r#"{"serf_lan":"here"}"#, "serf_lan \"here\""),
        (r#"{"retry_join":["a b"]}"#, "retry_join \"a b\""),
        (r#"{"retry_join":["provider=aws tag_key=x"]}"#, "provider \"aws\""),
        (r#"{"retry_interval":"1ms"}"#, "retry_interval is 1ms; it must be at least 1s"),
        (r#"{"retry_max":-1}"#, "retry_max cannot be -1"),
        (r#"{"reconnect_timeout":"0s"}"#, "reconnect_timeout is 0s; it must be at least 1s"),
        (r#"{"server_rejoin_age_max":"1h"}"#, "server_rejoin_age_max is 1h0m0s"),
        (r#"{"performance":{"raft_multiplier":11}}"#, "raft_multiplier cannot be 11"),
        (r#"{"autopilot":{"max_trailing_logs":-1}}"#, "autopilot.max_trailing_logs cannot be -1"),
        (r#"{"raft_snapshot_threshold":0}"#, "raft_snapshot_threshold cannot be 0"),
        (r#"{"snapshot":{"interval":"1h"}}"#, "snapshot.path is required"),
        (r#"{"snapshot":{"path":"/x","retain":0}}"#, "snapshot.retain is 0"),
        (r#"{"primary_datacenter":"a b"}"#, "primary_datacenter \"a b\""),
        (r#"{"tls":{"https":{"cert_file":"/x"}}}"#, "tls.https has cert_file but no key_file"),
        (r#"{"tls":{"defaults":{"tls_min_version":"TLSv1_0"}}}"#, "tls_min_version \"TLSv1_0\""),
        (r#"{"auto_encrypt":{"tls":true}}"#, "auto_encrypt.tls can only be used on a client"),
        (r#"{"auto_encrypt":{"allow_tls":true,"dns_san":["server.dc1.consul"]}}"#, "dns_san"),
        (r#"{"connect":{"ca_config":{"leaf_cert_ttl":"1s"}}}"#, "leaf_cert_ttl is 1s"),
        (r#"{"default_intention_policy":"maybe"}"#, "\"maybe\""),
        (r#"{"recursors":["dns.example"]}"#, "\"dns.example\""),
        (r#"{"node_meta":{"consul-x":"1"}}"#, "consul-x"),
        (r#"{"telemetry":{"statsd_address":"here"}}"#, "telemetry.statsd_address \"here\""),
        (r#"{"telemetry":{"dogstatsd_addr":"here:0"}}"#, "telemetry.dogstatsd_addr \"here:0\""),
        (r#"{"ports":{"sidecar_min_port":9,"sidecar_max_port":8}}"#, "ports.sidecar_min_port is 9"),
        (r#"{"max_query_time":"1ms"}"#, "max_query_time is 1ms; it must be at least 1s"),
        (r#"{"kubernetes":{"enabled":true}}"#, "kubernetes.operator_service_account"),
    ] {
        let error = configured(json, true).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}

#[test]
fn every_agent_but_dev_needs_a_data_directory() {
    for json in [r#"{"server":true}"#, "{}"] {
        assert!(matches!(configured(json, false), Err(ConfigError::DataDir)), "{json}");
    }
}

/// Builds a configuration outside of `-dev` from a few keys.
fn real(json: &str) -> Result<RuntimeConfig, ConfigError> {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    let keys = value.as_object_mut().unwrap();
    keys.insert("data_dir".into(), "/tmp/x".into());
    keys.entry("advertise_addr").or_insert("10.0.0.2".into());
    configured(&value.to_string(), false)
}

#[test]
fn a_client_starts_no_cluster_and_is_in_no_wan_pool() {
    let config = real("{}").unwrap();
    assert!(!config.server && config.leave_on_terminate && !config.skip_leave_on_interrupt);
    assert_eq!((config.bootstrap_expect, config.serf_lan_port, config.serf_wan_port), (0, 8301, 0));
    assert!(config.listen.grpc_tls.is_empty());
    for json in [r#"{"bootstrap_expect":1}"#, r#"{"bootstrap":true}"#] {
        let error = real(json).unwrap_err().to_string();
        assert!(error.ends_with("requires 'server = true'"), "{error}");
    }
}

#[test]
fn bootstrap_and_bootstrap_expect_are_one_setting() {
    let server = |rest: &str| real(&format!(r#"{{"server":true{rest}}}"#));
    assert_eq!(server(r#","bootstrap":true"#).unwrap().bootstrap_expect, 1);
    assert_eq!(server(r#","bootstrap_expect":1"#).unwrap().bootstrap_expect, 1);
    let three = server(r#","bootstrap_expect":3"#).unwrap();
    assert_eq!((three.bootstrap_expect, three.warnings.len()), (3, 0));
    let none = server("").unwrap();
    assert_eq!(none.bootstrap_expect, 0);
    assert!(none.warnings[0].contains("waits until it is joined"), "{:?}", none.warnings);
    let joins = server(r#","retry_join":["10.0.0.1"]"#).unwrap();
    assert!(joins.warnings.is_empty(), "{:?}", joins.warnings);
    for (expect, words) in [(2, "no failure tolerance"), (4, "even number")] {
        let config = server(&format!(r#","bootstrap_expect":{expect}"#)).unwrap();
        assert!(config.warnings[0].contains(words), "{:?}", config.warnings);
    }
    let error = server(r#","bootstrap":true,"bootstrap_expect":1"#).unwrap_err().to_string();
    assert!(error.contains("mutually exclusive"), "{error}");
}

#[test]
fn joining_gossip_and_timing_have_defaults() {
    let config =
        real(r#"{"server":true,"bootstrap_expect":3,"snapshot":{"interval":"6h"}}"#).unwrap();
    assert_eq!(config.join.lan.interval.as_secs(), 30);
    assert_eq!(config.join.lan.max, 0);
    assert!(config.gossip.verify_incoming && config.gossip.verify_outgoing);
    assert!(config.gossip.encrypt.is_none() && !config.gossip.disable_keyring_file);
    assert_eq!(config.gossip.reconnect_timeout.as_secs(), 72 * 3600);
    assert_eq!(config.performance.raft_multiplier, 1);
    assert_eq!(config.performance.rpc_hold_timeout.as_secs(), 7);
    assert_eq!(config.autopilot.last_contact_threshold.as_millis(), 200);
    assert_eq!(config.queries.max_wait.as_secs(), 600);
    assert_eq!(config.primary_datacenter, "dc1");
    assert_eq!(config.serf_lan_bind, config.bind_addr);
    let snapshots = config.snapshots.unwrap();
    assert_eq!((snapshots.retain, snapshots.path), (30, PathBuf::from("/tmp/x/snapshots")));
}

#[test]
fn a_gossip_key_has_16_24_or_32_bytes_and_is_never_shown() {
    for (key, words) in [
        ("AAAAAAAAAAAAAAAAAAAAAA==", ""),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""),
        ("c2hvcnRrZXk=", "encrypt has invalid key: it holds 8 bytes"),
        ("not*base64", "encrypt has invalid key: it is not base64"),
    ] {
        let built = real(&format!(r#"{{"encrypt":"{key}"}}"#));
        let shown = format!("{built:?}");
        assert!(!shown.contains(key), "{shown}");
        match built {
            Ok(_) => assert!(words.is_empty(), "{key}"),
            Err(error) => {
                assert!(error.to_string().starts_with(words) && !words.is_empty(), "{error}")
            }
        }
    }
}

#[test]
fn a_short_reconnect_timeout_is_taken_with_a_warning() {
    let config = real(r#"{"reconnect_timeout":"15s"}"#).unwrap();
    assert_eq!(config.gossip.reconnect_timeout.as_secs(), 15);
    assert!(config.warnings[0].starts_with("reconnect_timeout is 15s"), "{:?}", config.warnings);
}

#[test]
fn a_protocols_tls_is_its_own_then_the_defaults_then_the_older_keys() {
    let config = real(
        r#"{"ca_file":"/old-ca","cert_file":"/old","key_file":"/old-key","verify_incoming":true,
            "verify_incoming_https":false,
            "tls":{"defaults":{"cert_file":"/all","key_file":"/all-key","tls_min_version":"TLSv1_3"},
                   "internal_rpc":{"verify_server_hostname":true,"ca_path":"/cas"}}}"#,
    )
    .unwrap();
    let (rpc, https) = (&config.tls.internal_rpc, &config.tls.https);
    assert_eq!(rpc.cert_file, Some(PathBuf::from("/all")));
    assert_eq!(rpc.ca_file, Some(PathBuf::from("/old-ca")));
    assert_eq!(rpc.ca_path, Some(PathBuf::from("/cas")));
    assert_eq!(rpc.min_version, runtime::MinVersion::Tls13);
    assert!(rpc.verify_incoming && rpc.verify_outgoing && config.tls.verify_server_hostname);
    assert!(!https.verify_incoming);
    assert_eq!(config.tls.grpc, runtime::TlsProtocol::default());
}

#[test]
fn the_advertised_address_is_the_one_given_whatever_the_machine_has() {
    let config = real(r#"{"bind_addr":"0.0.0.0","advertise_addr":"10.9.9.9"}"#).unwrap();
    assert_eq!(config.advertise_addr.to_string(), "10.9.9.9");
    assert_eq!(config.advertise_addr_wan.to_string(), "10.9.9.9");
    let bound = real(
        r#"{"bind_addr":"192.0.2.7","advertise_addr":"","advertise_addr_wan_ipv4":"198.51.100.1"}"#,
    )
    .unwrap();
    assert_eq!(bound.advertise_addr.to_string(), "192.0.2.7");
    assert_eq!(bound.advertise_addr_wan.to_string(), "198.51.100.1");
}

#[test]
fn one_private_address_is_taken_and_several_are_refused() {
    let ip = |text: &str| text.parse().unwrap();
    let taken = addresses::only(vec![ip("10.0.0.2"), ip("10.0.0.2")]).unwrap();
    assert_eq!(taken, ip("10.0.0.2"));
    let error = addresses::only(vec![ip("10.0.0.2"), ip("172.17.0.1")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'."
    );
    assert!(matches!(addresses::only(Vec::new()), Err(ConfigError::NoPrivateAddress)));
}

#[test]
fn limits_of_server_rpc_have_consuls_defaults_and_can_be_set() {
    let limits = real("{}").unwrap().limits;
    assert_eq!((limits.rpc_max_conns_per_client, limits.rpc_rate), (100, None));
    assert_eq!(limits.rpc_handshake_timeout, Duration::from_secs(5));
    let limits = real(
        r#"{"limits":{"rpc_max_conns_per_client":7,"rpc_handshake_timeout":"2s",
            "rpc_rate":0.5,"rpc_max_burst":3}}"#,
    );
    let limits = limits.unwrap().limits;
    assert_eq!(limits.rpc_max_conns_per_client, 7);
    assert_eq!(limits.rpc_handshake_timeout, Duration::from_secs(2));
    assert_eq!(limits.rpc_rate, Some(Rate { per_second: 0.5, burst: 3.0 }));
    for key in ["rpc_handshake_timeout", "https_handshake_timeout"] {
        let limits = real(&format!(r#"{{"limits":{{"{key}":"0s"}}}}"#)).unwrap().limits;
        let longest = limits.rpc_handshake_timeout.max(limits.https_handshake_timeout);
        assert_eq!(longest, Duration::MAX, "{key}: 0 is no limit");
    }
    assert_eq!(real(r#"{"limits":{"rpc_rate":-1}}"#).unwrap().limits.rpc_rate, None);
}

#[test]
fn values_of_keys_are_no_larger_than_what_agents_forward() {
    let bytes = |given: &str| {
        let config = real(&format!(r#"{{"limits":{{"kv_max_value_size":{given}}}}}"#));
        config.map(|config| config.limits.kv_max_value_bytes).map_err(|error| error.to_string())
    };
    assert_eq!(real("{}").unwrap().limits.kv_max_value_bytes, 524_288);
    assert_eq!((bytes("0"), bytes("66060288")), (Ok(0), Ok(66_060_288)));
    assert_eq!(
        bytes("66060289").unwrap_err(),
        "limits.kv_max_value_size is 66060289; it must be between 0 and 66060288"
    );
}

#[test]
fn single_files_are_valid_as_far_as_they_are_of_one_agent() {
    let validated = |json: &str| {
        validate(files::parse(Path::new("x.json"), json).unwrap(), Vec::new())
            .map_err(|error| error.to_string())
    };
    for json in [
        "{}",
        r#"{"auto_encrypt":{"tls":true}}"#,
        r#"{"server":true,"bootstrap":true}"#,
        r#"{"server":true,"auto_encrypt":{"allow_tls":true}}"#,
        r#"{"services":[{"name":"web"}]}"#,
    ] {
        validated(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    }
    for (json, words) in [
        (r#"{"bootstrap":true}"#, "'bootstrap = true' requires 'server = true'"),
        (r#"{"bootstrap_expect":3}"#, "'bootstrap_expect > 0' requires 'server = true'"),
        (
            r#"{"server":true,"auto_encrypt":{"tls":true}}"#,
            "auto_encrypt.tls can only be used on a client",
        ),
    ] {
        assert_eq!(validated(json).unwrap_err(), words, "{json}");
    }
}

#[test]
fn telemetry_has_consuls_defaults_and_can_be_set() {
    let defaults = real("{}").unwrap().telemetry;
    assert_eq!(defaults.prometheus_retention, Duration::ZERO);
    assert!(defaults.filter_default && !defaults.disable_hostname);
    assert_eq!(defaults.metrics_prefix, "consul");
    assert_eq!((defaults.statsd_address, defaults.dogstatsd_address), (None, None));
    let config = real(
        r#"{"telemetry":{"prometheus_retention_time":"8h","filter_default":false,
            "prefix_filter":["+consul.raft","-consul.http","consul.kvs",""],
            "dogstatsd_addr":"unix:///run/dd.sock","dogstatsd_tags":["a:b"]}}"#,
    )
    .unwrap();
    let telemetry = &config.telemetry;
    assert_eq!(telemetry.prometheus_retention, Duration::from_secs(8 * 3600));
    assert_eq!(telemetry.prefix_filter.allowed, ["consul.raft"]);
    assert_eq!(telemetry.prefix_filter.blocked, ["consul.http"]);
    assert_eq!(telemetry.dogstatsd_address.as_deref(), Some("unix:///run/dd.sock"));
    let warned = |rule: &str| config.warnings.iter().any(|warning| warning.contains(rule));
    assert!(warned("prefix_filter \"consul.kvs\"") && warned("prefix_filter \"\""));
}

#[test]
fn sidecars_get_no_ports_when_an_end_of_their_range_is_turned_off() {
    let ports = |json: &str| real(&format!(r#"{{"ports":{json}}}"#)).unwrap().sidecar_ports;
    assert_eq!(ports("{}"), 21000..=21255);
    assert_eq!(ports(r#"{"sidecar_min_port":1,"sidecar_max_port":1}"#), 1..=1);
    for off in [r#"{"sidecar_min_port":0}"#, r#"{"sidecar_max_port":-1}"#] {
        assert!(ports(off).is_empty(), "{off}");
    }
}
