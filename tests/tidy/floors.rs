//! Which way the arrows between modules go.
//!
//! A crate's `lib.rs` lists its modules from the highest floor to the lowest, a blank line between
//! two floors; a module may name only modules of lower floors. Crates with one floor may not have a
//! circle either. Engines, and what makes a core impure, are named in their own rooms only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{
    imports::{Source, sources},
    root,
};

/// Crates whose `lib.rs` is in floor order.
const HOUSES: [&str; 3] = ["agent/src", "sidecar/src", "operator/src"];
/// Crates that may have no circle.
const CRATES: [&str; 9] = [
    "agent/api/src",
    "agent/config/src",
    "agent/consensus/src",
    "agent/core/src",
    "agent/membership/src",
    "agent/runtime/src",
    "agent/store/src",
    "agent/transport/src",
    "agent/src",
];

/// What belongs to one room of a crate: the crate, what is named, and where it may be.
const ROOMS: [(&str, &str, &[&str]); 6] = [
    ("agent/src", "kube", &["kubernetes"]),
    ("agent/src", "k8s_openapi", &["kubernetes"]),
    ("agent/src", "hickory_proto", &["dns"]),
    ("agent/src", "hickory_resolver", &["dns/recursor", "cli/resolve"]),
    ("operator/src", "serde_yaml", &["crds"]),
    ("sidecar/src", "metrics_exporter_prometheus", &["metrics"]),
];

/// Modules that are pure: what they are asked decides what they answer.
const CORES: [(&str, &[&str]); 4] = [
    ("agent/core/src", &[""]),
    (
        "agent/src",
        &["dns/name", "dns/lookup", "dns/answer", "dns/truncate", "server/autopilot/plan"],
    ),
    ("sidecar/src", &["balance", "policy", "snapshot", "target"]),
    (
        "operator/src",
        &["annotations", "claims", "corefile", "injection", "plan", "pod", "registration"],
    ),
];
/// What no core may name: runtimes, I/O, threads, and time and randomness that are no arguments.
const IMPURE: [&str; 13] = [
    "tokio",
    "rand::random",
    "rand::random_range",
    "rand::rng",
    "hyper",
    "tonic",
    "std::fs",
    "std::io::stdin",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
];

/// Reads the floors of a `lib.rs`: module to floor, 0 the highest.
fn floors(lib: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    let (mut floor, mut is_new) = (0, false);
    for line in lib.lines() {
        let line = line.trim();
        let declared = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
        match declared.and_then(|rest| rest.strip_suffix(';')) {
            Some(module) => {
                floor += usize::from(is_new);
                is_new = false;
                floors.insert(module.to_owned(), floor);
            }
            None if line.is_empty() => is_new = !floors.is_empty(),
            None => {}
        }
    }
    floors
}

/// Lists the arrows that do not go down.
fn climbs(floors: &BTreeMap<String, usize>, sources: &[Source]) -> Vec<String> {
    let mut climbs = Vec::new();
    for source in sources.iter().filter(|source| !matches!(source.room(), "lib" | "main" | "bin")) {
        for room in source.rooms().filter(|room| *room != source.room()) {
            if let (Some(from), Some(to)) = (floors.get(source.room()), floors.get(room))
                && from >= to
            {
                climbs.push(format!("{} names {room}, which is not below it", source.module));
            }
        }
    }
    climbs
}

/// Lists the top modules that reach themselves.
fn circle(sources: &[Source]) -> Vec<String> {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let rooms: BTreeSet<&str> = sources.iter().map(Source::room).collect();
    for source in sources.iter().filter(|source| !matches!(source.room(), "lib" | "main")) {
        let others = source.rooms().filter(|room| *room != source.room() && rooms.contains(room));
        arrows.entry(source.room()).or_default().extend(others);
    }
    let reaches_itself = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = arrows.get(start).into_iter().flatten().copied().collect();
        while let Some(room) = next.pop() {
            if room == start {
                return true;
            }
            if seen.insert(room) {
                next.extend(arrows.get(room).into_iter().flatten());
            }
        }
        false
    };
    arrows.keys().filter(|room| reaches_itself(room)).map(|room| (*room).to_owned()).collect()
}

/// Returns whether a module is one of `rooms` or below one.
fn is_in(module: &str, rooms: &[&str]) -> bool {
    rooms
        .iter()
        .any(|room| room.is_empty() || module == *room || module.starts_with(&format!("{room}/")))
}

/// Lists the files outside `rooms` that name `engine`.
fn strays(engine: &str, rooms: &[&str], sources: &[Source]) -> Vec<String> {
    let names_it = |source: &Source| {
        source.names.iter().any(|name| name == engine || name.starts_with(&format!("{engine}::")))
    };
    let outside = sources.iter().filter(|source| !is_in(&source.module, rooms));
    outside.filter(|source| names_it(source)).map(|source| source.module.clone()).collect()
}

/// Lists what the modules below `cores` name that is impure.
fn impurities(cores: &[&str], sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    // A planted bug reads its name from the environment, in builds that are never shipped.
    for source in sources.iter().filter(|it| is_in(&it.module, cores) && it.module != "planted") {
        for name in &source.names {
            let is_impure = |it: &&str| {
                name == *it
                    || name.starts_with(&format!("{it}::"))
                    || name.ends_with(&format!("::{it}"))
            };
            if IMPURE.iter().any(is_impure) {
                found.push(format!("{} names {name}", source.module));
            }
        }
    }
    found
}

fn house(path: &str) -> (BTreeMap<String, usize>, Vec<Source>) {
    let src: &Path = &root().join(path);
    (floors(&fs::read_to_string(src.join("lib.rs")).unwrap()), sources(src))
}

#[test]
fn every_arrow_between_modules_goes_down() {
    for path in HOUSES {
        let (floors, sources) = house(path);
        assert!(floors.values().max() > Some(&2), "{path}/lib.rs is in floor order");
        let known = |source: &&Source| !matches!(source.room(), "lib" | "main" | "bin");
        for source in sources.iter().filter(known) {
            assert!(
                floors.contains_key(source.room()) || source.room() == "flags",
                "{path}: {} stands on no floor",
                source.module
            );
        }
        assert_eq!(climbs(&floors, &sources), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn no_modules_of_a_crate_form_a_circle() {
    for path in CRATES.iter().chain(&HOUSES) {
        assert_eq!(circle(&sources(&root().join(path))), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn an_engine_is_named_in_its_own_room_only() {
    for (path, engine, rooms) in ROOMS {
        let strays = strays(engine, rooms, &sources(&root().join(path)));
        assert_eq!(strays, Vec::<String>::new(), "{engine} belongs to {rooms:?} of {path}");
    }
}

#[test]
fn a_core_has_no_runtime_clock_randomness_or_files() {
    for (path, cores) in CORES {
        let sources = sources(&root().join(path));
        for core in cores.iter().filter(|core| !core.is_empty()) {
            let exists = sources.iter().any(|source| source.module == *core);
            assert!(exists, "{path}/{core}.rs is gone: correct the list of cores");
        }
        assert_eq!(impurities(cores, &sources), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn planted_violations_are_found() {
    let floors = floors("//! x\nmod top;\n\n// below\npub mod middle;\nmod side;\n\nmod ground;\n");
    let file = |module: &str, text: &str| Source::parse(module, text);
    let up = [file("ground/deep", "use crate::middle::X;")];
    assert_eq!(climbs(&floors, &up), ["ground/deep names middle, which is not below it"]);
    let beside = [file("side", "fn f() { crate::middle::g() }")];
    assert_eq!(climbs(&floors, &beside).len(), 1, "a floor's modules do not know each other");
    assert!(climbs(&floors, &[file("top", "use crate::{side, ground};")]).is_empty());

    let round =
        [file("a", "use crate::b;"), file("b/x", "use crate::c::C;"), file("c", "use crate::a;")];
    assert_eq!(circle(&round), ["a", "b", "c"]);
    assert!(circle(&round[..2]).is_empty());

    let named =
        [file("http/kv", "type T = Vec<kube::Client>;"), file("kubernetes", "use kube::Api;")];
    assert_eq!(strays("kube", &["kubernetes"], &named), ["http/kv"]);

    let clock = [file("state/kv", "fn f() -> Instant { std::time::Instant::now() }")];
    assert_eq!(impurities(&["state"], &clock), ["state/kv names std::time::Instant::now"]);
    let random = [file("plan", "fn f() -> u8 { rand::random() }")];
    assert_eq!(impurities(&["plan"], &random), ["plan names rand::random"]);
    let task = [file("plan", "fn f() { tokio::spawn(async {}); }")];
    assert_eq!(impurities(&["plan"], &task), ["plan names tokio::spawn"]);
}
