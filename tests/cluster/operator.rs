//! An operator asks any server while leadership changes hands.

use harness::Machine;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::world::World;

fn ok(machine: &Machine, method: Method, path: &str) -> Value {
    let answer = machine.local().request(method, path, "").unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    answer.json().unwrap()
}

/// The server that is asked neither leads before nor after: it hears of the new leader last.
#[test]
fn a_server_knows_who_leads_once_it_has_answered_that_another_handed_over_to_a_third() {
    let Some(world) = World::start(3, 0) else { return };
    let mut leader = world.leader().unwrap();
    let ids: Vec<_> = world.machines.iter().map(Machine::node_id).collect();
    for _ in 0..10 {
        let (asked, next) = ((leader + 1) % 3, (leader + 2) % 3);
        let asked = &world.machines[asked];
        let transfer =
            format!("/v1/operator/raft/transfer-leader?id={}", ids[next].as_str().unwrap());
        assert_eq!(ok(asked, Method::POST, &transfer)["Success"], true);
        let rows = ok(asked, Method::GET, "/v1/operator/raft/configuration");
        let leads = rows["Servers"].as_array().unwrap().iter().find(|row| row["Leader"] == true);
        assert_eq!(leads.unwrap()["ID"], ids[next]);
        ok(asked, Method::GET, "/v1/operator/autopilot/state");
        leader = next;
    }
}
