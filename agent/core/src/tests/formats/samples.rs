//! One command of every kind, in an order in which each does something.
//!
//! Their goldens are kept by position: a new sample goes to the end, and none is changed or moved.

use bytes::Bytes;
use lictor_api::types::{
    catalog::{DeregisterRequest, RegisterRequest},
    connect::{BuiltinCaConfig, CaRoot},
    coordinate::{Coordinate, Entry},
    operator::AutopilotConfiguration,
    session::Session,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    fsm::{
        self, AutopilotCommand, CaCommand, Command, ConfigEntryCommand, CoordinateCommand, Expired,
        IntentionCommand, KvCommand, Operation, RestoreCommand, SessionCommand,
        txn::{CatalogVerb, KvOperation, KvVerb},
    },
    state::{State, certificate_authority::PrivateKeyPem, watch::Touched},
};

/// Commands with the state that they have made so far, which later ones refer to.
#[derive(Default)]
struct Script {
    state: State,
    commands: Vec<Command>,
}

impl Script {
    fn push(&mut self, command: Command) {
        self.commands.push(command.clone());
        let index = self.commands.len() as u64;
        fsm::apply(&mut self.state, index, command, &mut Touched::default());
    }

    fn modified(&self, key: &str) -> u64 {
        self.state.kv.get(key).map_or(0, |pair| pair.modify_index)
    }
}

/// Returns all samples.
pub(super) fn all() -> Vec<Command> {
    let mut script = Script::default();
    restored(&mut script);
    catalog(&mut script);
    keys(&mut script);
    sessions(&mut script);
    mesh(&mut script);
    transactions(&mut script);
    settings(&mut script);
    script.push(restore(RestoreCommand::Begin { id: "unfinished".into() }));
    let data = Bytes::from_static(b"the first part");
    script.push(restore(RestoreCommand::Part { id: "unfinished".into(), number: 0, data }));
    script.commands
}

fn restore(command: RestoreCommand) -> Command {
    Command::Restore(command)
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn restored(script: &mut Script) {
    script.push(restore(RestoreCommand::Begin { id: "given-up".into() }));
    script.push(restore(RestoreCommand::Abandon { id: "given-up".into() }));
    let mut saved = State::default();
    let set = KvCommand::Set { key: "saved".into(), flags: 7, value: "before".into() };
    fsm::apply(&mut saved, 40, Command::Kv(set), &mut Touched::default());
    let data = Bytes::from(saved.to_snapshot().unwrap());
    let (length, checksum) = (data.len() as u64, crc32fast::hash(&data));
    let id = || "whole".to_owned();
    script.push(restore(RestoreCommand::Begin { id: id() }));
    script.push(restore(RestoreCommand::Part { id: id(), number: 0, data }));
    script.push(restore(RestoreCommand::Commit { id: id(), length, checksum }));
}

fn catalog(script: &mut Script) {
    let full: RegisterRequest = of(json!({
        "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "n1", "Address": "10.0.0.1",
        "Datacenter": "dc1", "TaggedAddresses": {"lan": "10.0.0.1", "wan": "203.0.113.1"},
        "NodeMeta": {"os": "linux"}, "Locality": {"Region": "r", "Zone": "z"},
        "Service": {
            "ID": "web-1", "Service": "web", "Tags": ["v1", "primary"], "Address": "10.0.0.11",
            "TaggedAddresses": {"wan": {"Address": "203.0.113.11", "Port": 8080}},
            "Meta": {"version": "2"}, "Port": 80, "SocketPath": "/run/web",
            "Weights": {"Passing": 10, "Warning": 1}, "EnableTagOverride": true,
            "Connect": {"Native": true}, "Locality": {"Region": "r", "Zone": "z"}
        },
        "Check": {
            "Node": "n1", "CheckID": "alive", "Name": "alive", "Status": "passing",
            "Notes": "a note", "Output": "200 OK", "ServiceID": "web-1", "Type": "http",
            "Interval": "10s", "Timeout": "1.5s", "ExposedPort": 21500,
            "Definition": {
                "HTTP": "http://10.0.0.11/health", "Method": "GET", "Header": {"A": ["b"]},
                "Body": "x", "TLSSkipVerify": true, "Interval": "10s", "Timeout": "1.5s",
                "DeregisterCriticalServiceAfter": "1h30m"
            }
        },
        "Checks": [{"Node": "n1", "CheckID": "serfHealth", "Name": "Serf", "Status": "warning"}]
    }));
    script.push(Command::Register(Box::new(full)));
    let proxy: RegisterRequest = of(json!({
        "Node": "n1", "SkipNodeUpdate": true,
        "Service": {
            "Kind": "connect-proxy", "ID": "web-proxy", "Service": "web-sidecar-proxy",
            "Port": 21000,
            "Proxy": {
                "DestinationServiceName": "web", "DestinationServiceID": "web-1",
                "LocalServiceAddress": "127.0.0.1", "LocalServicePort": 80,
                "Config": {"text": "x", "number": -1, "fraction": 0.5, "list": [true, null]},
                "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191,
                    "LocalBindAddress": "127.0.0.2", "Datacenter": "dc2"}]
            }
        }
    }));
    script.push(Command::Register(Box::new(proxy)));
    let second =
        json!({"Node": "n2", "Address": "10.0.0.2", "Service": {"Service": "db", "ID": "db"}});
    script.push(Command::Register(Box::new(of(second))));
    let gone: DeregisterRequest =
        of(json!({"Node": "n2", "Datacenter": "dc1", "ServiceID": "db", "CheckID": ""}));
    script.push(Command::Deregister(gone));
}

fn keys(script: &mut Script) {
    let set = |key: &str, value: &'static [u8]| {
        let value = Bytes::from_static(value);
        Command::Kv(KvCommand::Set { key: key.into(), flags: 42, value })
    };
    for key in ["a", "b", "tree/x", "tree/y", "gone"] {
        script.push(set(key, &[0, 159, 255]));
    }
    let (key, value) = (|| "a".to_owned(), Bytes::from_static(b"set"));
    let expected = script.modified("a");
    script.push(Command::Kv(KvCommand::CheckAndSet { key: key(), flags: 1, value, expected }));
    script.push(Command::Kv(KvCommand::Delete { key: "gone".into() }));
    let expected = script.modified("b");
    script.push(Command::Kv(KvCommand::CheckAndDelete { key: "b".into(), expected }));
    script.push(Command::Kv(KvCommand::DeleteTree { prefix: "tree/".into() }));
}

fn sessions(script: &mut Script) {
    let create = |id: &str, behavior: &str| {
        let session: Session = of(json!({
            "ID": id, "Name": "a lock", "Node": "n1", "LockDelay": "15s", "Behavior": behavior,
            "TTL": "30s", "NodeChecks": ["serfHealth"],
            "ServiceChecks": [{"ID": "alive", "Namespace": ""}]
        }));
        Command::Session(Box::new(SessionCommand::Create(session)))
    };
    let lock = |key: &str, session: &str| {
        let (key, session) = (key.to_owned(), session.to_owned());
        Command::Kv(KvCommand::Lock { key, flags: 3, value: "held".into(), session })
    };
    for (id, behavior) in
        [("s1", "release"), ("s2", "delete"), ("s3", "release"), ("s4", "release")]
    {
        script.push(create(id, behavior));
    }
    script.push(lock("lock/1", "s1"));
    let (key, session) = ("lock/1".to_owned(), "s1".to_owned());
    script.push(Command::Kv(KvCommand::Unlock { key, flags: 4, value: "free".into(), session }));
    for (key, session) in [("lock/1", "s1"), ("lock/2", "s2"), ("lock/3", "s3"), ("lock/4", "s4")] {
        script.push(lock(key, session));
    }
    let end = |id: &str| Command::Session(Box::new(SessionCommand::Destroy { id: id.to_owned() }));
    script.push(end("s1"));
    script.push(end("s3"));
    let created = script.state.sessions.get("s4").map_or(0, |session| session.create_index);
    let since = script.state.kv.delay("lock/1").map_or(0, |delay| delay.since);
    let expired =
        Expired { sessions: vec![("s4".into(), created)], delays: vec![("lock/1".into(), since)] };
    script.push(Command::Session(Box::new(SessionCommand::Expire(expired))));
}

fn mesh(script: &mut Script) {
    let entry = |name: &str| {
        of(json!({
            "Kind": "service-intentions", "Name": name, "Meta": {"team": "x"},
            "Sources": [
                {"Name": "web", "Action": "allow", "Precedence": 9, "Type": "consul",
                    "Description": "why", "LegacyID": "8f246b77-f3e1-ff88-5b48-8ec93abf3e05"},
                {"Name": "api", "Permissions": [{"Action": "deny", "HTTP": {"PathExact": "/"}}]}
            ]
        }))
    };
    for (name, expected) in [("db", Some(0)), ("gone", None)] {
        let command = ConfigEntryCommand::Upsert { entry: entry(name), expected };
        script.push(Command::ConfigEntry(Box::new(command)));
    }
    let (kind, name) = ("service-intentions".to_owned(), "gone".to_owned());
    let command = ConfigEntryCommand::Delete { kind, name, expected: None };
    script.push(Command::ConfigEntry(Box::new(command)));
    let source = of(json!({"Name": "cron", "Action": "deny"}));
    let command = IntentionCommand::Upsert { destination: "db".into(), source };
    script.push(Command::Intention(Box::new(command)));
    let command = IntentionCommand::Delete { destination: "db".into(), source: "cron".into() };
    script.push(Command::Intention(Box::new(command)));
    let config: BuiltinCaConfig = of(json!({
        "LeafCertTTL": "72h", "RootCertTTL": "87600h", "IntermediateCertTTL": "8760h",
        "CSRMaxPerSecond": 50
    }));
    let root = |id: &str| -> CaRoot {
        of(json!({
            "ID": id, "Name": "a root", "SerialNumber": 7, "SigningKeyID": "aa:bb",
            "ExternalTrustDomain": "11111111-2222-3333-4444-555555555555",
            "NotBefore": "2026-01-01T00:00:00Z", "NotAfter": "2036-01-01T00:00:00Z",
            "RootCert": "-----BEGIN CERTIFICATE-----\n", "IntermediateCerts": ["cross-signed"],
            "Active": true, "PrivateKeyType": "ec", "PrivateKeyBits": 256
        }))
    };
    let key = |text: &str| PrivateKeyPem::new(text.to_owned());
    for command in [
        CaCommand::Initialize {
            cluster_id: "11111111-2222-3333-4444-555555555555".into(),
            config: config.clone(),
            root: root("first"),
            signing_key: key("the first key"),
        },
        CaCommand::Configure { config: config.clone() },
        CaCommand::Rotate { config, root: root("second"), signing_key: key("the second key") },
    ] {
        script.push(Command::Ca(Box::new(command)));
    }
}

fn transactions(script: &mut Script) {
    let operation = |verb, key: &str, index, session: &str| {
        let (key, value, session) = (key.to_owned(), "in a txn".into(), session.to_owned());
        Operation::Kv(KvOperation { verb, key, flags: 5, value, index, session })
    };
    let a = script.modified("a");
    script.push(Command::Transaction(vec![
        operation(KvVerb::CheckIndex, "a", a, ""),
        operation(KvVerb::CheckNotExists, "new", 0, ""),
        operation(KvVerb::CheckSession, "lock/2", 0, "s2"),
        operation(KvVerb::Get, "a", 0, ""),
        operation(KvVerb::GetOrEmpty, "new", 0, ""),
        operation(KvVerb::GetTree, "lock/", 0, ""),
        operation(KvVerb::Set, "set", 0, ""),
        operation(KvVerb::Cas, "a", a, ""),
        operation(KvVerb::Lock, "locked", 0, "s2"),
        operation(KvVerb::Unlock, "locked", 0, "s2"),
        operation(KvVerb::Delete, "set", 0, ""),
        operation(KvVerb::DeleteTree, "none/", 0, ""),
        operation(KvVerb::DeleteCas, "never", 0, ""),
    ]));
    let node = |verb| {
        let node = of(json!({"Node": "txn", "Address": "10.0.0.9", "Meta": {"a": "b"}}));
        Operation::Node { verb, node }
    };
    let service = |verb| {
        let service = of(json!({"ID": "s", "Service": "txn", "Port": 9}));
        Operation::Service { verb, node: "txn".into(), service }
    };
    let check = |verb| {
        let check = of(json!({"Node": "txn", "CheckID": "c", "Name": "c", "Status": "critical"}));
        Operation::Check { verb, check }
    };
    for verb in [CatalogVerb::Set, CatalogVerb::Get, CatalogVerb::Cas] {
        script.push(Command::Transaction(vec![node(verb), service(verb), check(verb)]));
    }
    for verb in [CatalogVerb::DeleteCas, CatalogVerb::Delete] {
        script.push(Command::Transaction(vec![check(verb), service(verb), node(verb)]));
    }
}

fn settings(script: &mut Script) {
    let configuration: AutopilotConfiguration = of(json!({
        "CleanupDeadServers": false, "LastContactThreshold": "250ms", "MaxTrailingLogs": 9,
        "MinQuorum": 3, "ServerStabilizationTime": "11s", "RedundancyZoneTag": "zone",
        "DisableUpgradeMigration": true, "UpgradeVersionTag": "version"
    }));
    script.push(Command::Autopilot(AutopilotCommand { configuration, expected: Some(0) }));
    let coord = Coordinate {
        vec: vec![0.25, -1.5, 3.0, 0.0, 0.0, 0.0, 0.0, 1e-9],
        error: 1.5,
        adjustment: -0.5,
        height: 1e-5,
    };
    let entry = Entry { node: "n1".into(), segment: String::new(), coord };
    script.push(Command::Coordinate(CoordinateCommand::Update(vec![entry])));
}
