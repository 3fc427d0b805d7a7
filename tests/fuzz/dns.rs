//! What DNS clients write: packets, through both ways to an answer.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use hickory_proto::{op::Message, rr::Name};
use lictor::dns::{
    Zone, compare,
    general::Environment,
    truncate::{Limits, Transport},
};
use lictor_config::runtime::{Dns, Soa};
use lictor_core::{
    fsm::{self, Command},
    state::{State, watch::Touched},
};
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

const NOW: u32 = 1_700_000_000;

static STATE: LazyLock<State> = LazyLock::new(|| {
    let mut state = State::default();
    let instance = |id: u8, address: &str| {
        json!({"Node": "foo", "SkipNodeUpdate": true, "Service": {"ID": format!("w{id}"),
            "Service": "web", "Tags": ["v1"], "Address": address, "Port": 80}})
    };
    let rows = [
        json!({"Node": "foo", "Address": "10.1.0.1", "NodeMeta": {"rack": "7", "empty": ""},
            "Service": {"ID": "consul", "Service": "consul", "Port": 8300}}),
        instance(1, "10.0.0.1"),
        instance(2, "10.0.0.2"),
        instance(3, "10.0.0.2"),
        instance(4, "fd00::4"),
        instance(5, "db.example.com"),
        json!({"Node": "long", "Address": "fd00::9", "NodeMeta": {"text": "x".repeat(300)}}),
        json!({"Node": "inside", "Address": "web.service.consul"}),
    ];
    for row in rows {
        register(&mut state, row);
    }
    state
});

fn register(state: &mut State, row: Value) {
    let request = serde_json::from_value(row).expect("the row is a registration");
    let index = state.index + 1;
    fsm::apply(state, index, Command::Register(Box::new(request)), &mut Touched::default());
}

/// A zone as the bits of `flags` say.
fn zone(flags: u8) -> Zone {
    let recursors = if flags & 2 == 0 { Vec::new() } else { vec![([127, 0, 0, 1], 53).into()] };
    Zone {
        domain: Name::from_ascii("consul.").expect("the domain is a name"),
        alt_domain: None,
        datacenter: "dc1".to_owned(),
        wan: false,
        settings: Dns {
            node_ttl: Duration::from_secs(5),
            service_ttl: BTreeMap::new(),
            only_passing: flags & 4 != 0,
            enable_truncate: flags & 8 != 0,
            udp_answer_limit: 3,
            a_record_limit: usize::from(flags >> 6),
            disable_compression: flags & 16 != 0,
            node_meta_txt: flags & 32 != 0,
            soa: Soa { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 },
            recursors,
            recursor_timeout: Duration::from_secs(2),
            recursor_random: false,
        },
    }
}

/// Both ways say the same, and every answer is one to this packet that fits its client.
pub(crate) fn packet(input: &[u8]) {
    let (&flags, packet) = input.split_first().unwrap_or((&0, input));
    let transport = if flags & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let zone = zone(flags);
    let rng = || SmallRng::seed_from_u64(7);
    let environment = Environment { state: &STATE, zone: &zone, transport, now: NOW };
    let general = compare::generally(packet, &environment, &mut rng());
    if let Some(direct) = compare::directly(packet, &environment, &mut rng()) {
        assert_eq!(Some(&direct), general.as_ref());
    }
    let Some(answer) = general else { return };
    let limits = Message::from_vec(packet).map(|request| Limits::of(&request, transport, &zone));
    let limit = limits.map_or(512, |limits| usize::from(limits.bytes));
    assert!(answer.len() <= limit, "{} of {limit} bytes", answer.len());
    assert_eq!(answer[..2], packet[..2], "the answer's ID");
    assert!(answer[2] & 0x80 != 0, "an answer is a response");
    Message::from_vec(&answer).expect("an answer is a message");
}
