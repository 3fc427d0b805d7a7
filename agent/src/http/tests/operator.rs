use lictor_core::acl::Caller;

use super::*;
use crate::http::{Context, Peer, Request, TO_LEADER};

#[tokio::test]
async fn the_servers_of_raft_are_listed() {
    let agent = TestAgent::start().await;
    let answer = agent.get("/v1/operator/raft/configuration").await.json();
    let server = &answer["Servers"][0];
    assert_eq!((&server["Node"], &server["Leader"]), (&"agent-one".into(), &true.into()));
    assert_eq!((&server["Voter"], &server["ProtocolVersion"]), (&true.into(), &"3".into()));
    assert!(server["LastIndex"].as_u64().unwrap() > 0);
    assert!(answer["Index"].is_u64());
    agent.stop().await;
}

#[tokio::test]
async fn a_peer_to_remove_is_named_once_and_known() {
    let agent = TestAgent::start().await;
    for (query, status, text) in [
        (
            "",
            400,
            "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
        ),
        ("?id=a&address=b", 400, "Must specify only one of ?id or ?address"),
        ("?id=a", 500, r#"id "a" was not found in the Raft configuration"#),
        ("?address=b:1", 500, r#"address "b:1" was not found in the Raft configuration"#),
    ] {
        let request = format!("DELETE /v1/operator/raft/peer{query}");
        agent.check(&request, "", status, &[], text).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn leadership_is_handed_to_a_voter_if_there_is_another() {
    let agent = TestAgent::start().await;
    let this = agent.running.agent().node_id.clone();
    let transfer = "POST /v1/operator/raft/transfer-leader";
    agent.check(&format!("{transfer}?id={this}"), "", 200, &[], r#"{"Success":true}"#).await;
    let text = r#"id "b" was not found in the Raft configuration"#;
    agent.check(&format!("{transfer}?id=b"), "", 500, &[], text).await;
    assert_eq!(agent.send(transfer, "").await.status, 500);
    assert_eq!(agent.send("PUT /v1/kv/a", "still writable").await.text(), "true");
    agent.stop().await;
}

#[tokio::test]
async fn autopilots_settings_are_changed_in_part_and_only_if_unchanged() {
    let agent = TestAgent::start().await;
    let path = "/v1/operator/autopilot/configuration";
    let defaults = r#"{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,"MinQuorum":0,"ServerStabilizationTime":"10s","RedundancyZoneTag":"","DisableUpgradeMigration":false,"UpgradeVersionTag":"","CreateIndex":0,"ModifyIndex":0}"#;
    assert_eq!(agent.get(path).await.text(), defaults);
    let put = |query: &str| format!("PUT {path}{query}");
    agent.check(&put("?cas=7"), r#"{"MinQuorum":3}"#, 200, &[], "false").await;
    agent.check(&put("?cas=0"), r#"{"MinQuorum":3}"#, 200, &[], "true").await;
    let body = r#"{"ServerStabilizationTime":"1m"}"#;
    agent.check(&put(""), body, 200, &[], "true").await;
    let now = agent.get(path).await.json();
    assert_eq!((&now["MinQuorum"], &now["MaxTrailingLogs"]), (&3.into(), &250.into()));
    assert_eq!(now["ServerStabilizationTime"], "1m0s");
    let index = now["ModifyIndex"].as_u64().unwrap();
    agent.check(&put(&format!("?cas={}", index - 1)), body, 200, &[], "false").await;
    agent.check(&put(&format!("?cas={index}")), body, 200, &[], "true").await;
    assert_eq!(agent.send(&put(""), r#"{"Nope":1}"#).await.status, 400);
    agent.stop().await;
}

#[tokio::test]
async fn autopilot_says_how_the_servers_are() {
    let agent = TestAgent::start().await;
    let this = agent.running.agent().node_id.clone();
    let health = agent.get("/v1/operator/autopilot/health").await;
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!((&health["Healthy"], &health["FailureTolerance"]), (&true.into(), &0.into()));
    let server = &health["Servers"][0];
    assert_eq!((&server["ID"], &server["SerfStatus"]), (&this.as_str().into(), &"alive".into()));
    assert_eq!((&server["Leader"], &server["LastContact"]), (&true.into(), &"0s".into()));
    assert!(server["StableSince"].as_str().unwrap().ends_with('Z'));
    let state = agent.get("/v1/operator/autopilot/state").await.json();
    assert_eq!(
        (&state["Leader"], &state["Voters"][0]),
        (&this.as_str().into(), &this.as_str().into())
    );
    assert_eq!(state["Servers"][&this]["Status"], "leader");
    agent.stop().await;
}

#[tokio::test]
async fn the_leader_lets_in_what_another_server_let_in_and_nobody_who_only_says_so() {
    let agent = TestAgent::start().await;
    let address = ([10, 0, 0, 1], 1).into();
    for (peer, is_kept, caller) in [
        (Peer::Forwarded { address, is_authorized: true }, true, Caller::Local),
        (Peer::Forwarded { address, is_authorized: false }, true, Caller::Anonymous),
        (Peer::Tcp(address), false, Caller::Anonymous),
    ] {
        let head = ::http::Request::post("/v1/operator/raft/transfer-leader");
        let (head, ()) = head.header(TO_LEADER, "1").body(()).unwrap().into_parts();
        let request = Request::new(head, Bytes::new(), peer).unwrap();
        assert_eq!(request.header(TO_LEADER).is_some(), is_kept, "{peer:?}");
        let context = Context::identify(agent.running.agent(), &request).await;
        assert_eq!(context.caller, caller, "{peer:?}");
    }
    agent.stop().await;
}
