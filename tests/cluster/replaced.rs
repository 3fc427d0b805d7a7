//! A server that lost its data comes back under its name and address.
//!
//! Found by the fault suite: the others went on calling it as the server it had been, and it answered
//! in that one's name, until a restart refused data that belonged to somebody else.

use std::time::Duration;

use harness::within;

use crate::world::World;

#[test]
fn a_server_without_its_data_is_taken_in_anew_and_counts() {
    let Some(mut world) = World::start(3, 0) else { return };
    let leader = world.leader().unwrap();
    let lost = (leader + 1) % 3;
    let machine = &mut world.machines[lost];
    let id = machine.node_id();
    machine.kill();
    machine.wipe();
    machine.restart();
    let new = world.machines[lost].node_id();
    assert_ne!(new, id);
    let ids = |world: &World| {
        let rows = world.machines[leader].get_json("/v1/operator/raft/configuration");
        let rows = rows["Servers"].as_array().cloned().unwrap_or_default();
        rows.into_iter()
            .filter(|row| row["Voter"] == true)
            .map(|row| row["ID"].clone())
            .collect::<Vec<_>>()
    };
    within(Duration::from_secs(60), "the new server to vote in place of the old", || {
        let ids = ids(&world);
        (ids.len() == 3 && ids.contains(&new) && !ids.contains(&id)).then_some(())
    });
    // It restarts with what it has got, and is one of the two that must be there.
    world.machines[lost].kill();
    world.machines[lost].restart();
    let third = (leader + 2) % 3;
    world.machines[third].kill();
    within(Duration::from_secs(30), "a write with the new server", || {
        (world.machines[lost].put("/v1/kv/with", "two") == "true").then_some(())
    });
}
