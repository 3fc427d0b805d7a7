use std::collections::BTreeSet;

use lictor_api::GoDuration;
use proptest::prelude::*;

use super::*;
use crate::server::autopilot::{
    Contact,
    health::{History, failure_tolerance},
};

const LONG: Duration = Duration::from_secs(3600);

fn id(n: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{n:02}")
}

fn address(n: u8) -> std::net::SocketAddr {
    ([10, 0, 0, n], 8300).into()
}

fn peer(n: u8, voter: bool) -> Peer {
    Peer { node_id: id(n), node_name: format!("s{n}"), address: address(n), voter }
}

fn member(n: u8, liveness: Liveness) -> Member {
    Member {
        node_id: id(n),
        node_name: format!("s{n}"),
        address: address(n),
        liveness,
        version: "1.21.4".to_owned(),
    }
}

/// Voters 1 to `voters`, all alive and up to date; 1 leads.
fn view(voters: u8) -> View {
    let mut view = View { this: id(1), term: 2, last_index: 1000, ..View::default() };
    for n in 1..=voters {
        view.peers.push(peer(n, true));
        view.members.push(member(n, Liveness::Alive));
        touch(&mut view, n);
    }
    view
}

fn touch(view: &mut View, n: u8) {
    let contact = Contact { matched: Some(1000), ago: Some(Duration::from_millis(50)) };
    view.contacts.insert(id(n), contact);
}

/// It no longer answers, and gossip says `liveness`.
fn lose(view: &mut View, n: u8, liveness: Liveness) {
    view.contacts.insert(id(n), Contact { matched: Some(900), ago: Some(LONG) });
    for member in &mut view.members {
        if member.node_id == id(n) {
            member.liveness = liveness;
        }
    }
}

fn next(view: &View) -> Option<Action> {
    next_with(view, &AutopilotConfiguration::default())
}

/// The plan of a leader that has seen the same for an hour.
fn next_with(view: &View, configuration: &AutopilotConfiguration) -> Option<Action> {
    let mut history = History::default();
    history.evaluate(view, configuration, Duration::ZERO);
    let servers = history.evaluate(view, configuration, LONG);
    plan(view, &servers, configuration, LONG)
}

fn removed(action: Option<Action>) -> Option<String> {
    match action {
        Some(Action::Remove { node_id, .. }) => Some(node_id),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_healthy_cluster_is_left_alone() {
    for voters in [1, 3, 5] {
        assert_eq!(next(&view(voters)), None);
    }
}

#[test]
fn a_server_that_joins_learns_first_and_votes_once_it_is_stable() {
    let mut view = view(3);
    view.members.push(member(4, Liveness::Alive));
    let added = Action::AddLearner { peer: peer(4, false), reason: "it joined" };
    assert_eq!(next(&view), Some(added));
    view.peers.push(peer(4, false));
    let (configuration, mut history) = (AutopilotConfiguration::default(), History::default());
    let mut step = |view: &View, seconds| {
        let now = Duration::from_secs(seconds);
        let servers = history.evaluate(view, &configuration, now);
        plan(view, &servers, &configuration, now)
    };
    let promoted = Some(Action::Promote { node_id: id(4), reason: "it is healthy and stable" });
    assert_eq!(step(&view, 100), None, "it never answered");
    touch(&mut view, 4);
    assert_eq!(step(&view, 101), None);
    view.contacts.get_mut(&id(4)).unwrap().matched = Some(700);
    assert_eq!(step(&view, 110), None, "it fell behind");
    touch(&mut view, 4);
    assert_eq!(step(&view, 112), None, "the time begins anew");
    assert_eq!(step(&view, 121), None);
    assert_eq!(step(&view, 122), promoted);
}

#[test]
fn a_new_leader_does_not_ask_how_long_a_learner_has_been_healthy() {
    let mut view = view(3);
    view.peers[2].voter = false;
    let configuration = AutopilotConfiguration::default();
    let at = |seconds| {
        let now = Duration::from_secs(seconds);
        let servers = History::default().evaluate(&view, &configuration, now);
        plan(&view, &servers, &configuration, now)
    };
    assert!(matches!(at(1), Some(Action::Promote { .. })));
    assert_eq!(at(11), None);
}

#[test]
fn a_dead_server_is_removed_while_fewer_than_half_are_dead() {
    for (voters, dead, removes) in
        [(3, 1, true), (5, 1, true), (5, 2, true), (2, 1, false), (4, 2, false), (3, 2, false)]
    {
        let mut view = view(voters);
        for n in 0..dead {
            lose(&mut view, voters - n, Liveness::Failed);
        }
        let first = removed(next(&view));
        assert_eq!(first.is_some(), removes, "{dead} of {voters}");
    }
}

#[test]
fn cleaning_up_can_be_switched_off_and_bounded() {
    let mut view = view(5);
    lose(&mut view, 5, Liveness::Failed);
    let with = |cleanup_dead_servers, min_quorum| AutopilotConfiguration {
        cleanup_dead_servers,
        min_quorum,
        ..AutopilotConfiguration::default()
    };
    assert_eq!(next_with(&view, &with(false, 0)), None);
    assert_eq!(next_with(&view, &with(true, 5)), None);
    assert_eq!(removed(next_with(&view, &with(true, 4))), Some(id(5)));
    // What left is removed all the same.
    lose(&mut view, 5, Liveness::Left);
    assert_eq!(removed(next_with(&view, &with(false, 5))), Some(id(5)));
}

#[test]
fn whoever_answers_the_leader_is_not_dead_whatever_gossip_says() {
    let mut view = view(3);
    view.members[2].liveness = Liveness::Failed;
    assert_eq!(next(&view), None);
    view.members.remove(2);
    assert_eq!(next(&view), None);
}

#[test]
fn a_peer_that_gossip_does_not_know_yet_has_a_minute() {
    let mut view = view(3);
    lose(&mut view, 3, Liveness::Alive);
    view.members.remove(2);
    let (configuration, mut history) = (AutopilotConfiguration::default(), History::default());
    let mut step = |seconds| {
        let now = Duration::from_secs(seconds);
        let servers = history.evaluate(&view, &configuration, now);
        removed(plan(&view, &servers, &configuration, now))
    };
    assert_eq!(step(100), None);
    assert_eq!(step(159), None);
    assert_eq!(step(160), Some(id(3)));
}

#[test]
fn a_server_that_comes_back_without_its_data_takes_the_place_of_its_old_id() {
    let mut view = view(3);
    lose(&mut view, 3, Liveness::Failed);
    // Gossip knows the name with its new ID only.
    view.members[2] = Member { node_id: id(9), ..member(3, Liveness::Alive) };
    assert_eq!(removed(next(&view)), Some(id(3)));
    view.peers.remove(2);
    let Some(Action::AddLearner { peer, .. }) = next(&view) else { panic!("it is not taken in") };
    assert_eq!((peer.node_id, peer.node_name, peer.voter), (id(9), "s3".to_owned(), false));
}

#[test]
fn a_replacement_waits_while_the_old_id_cannot_be_removed() {
    let mut view = view(3);
    lose(&mut view, 2, Liveness::Failed);
    lose(&mut view, 3, Liveness::Failed);
    view.members[2] = Member { node_id: id(9), ..member(3, Liveness::Alive) };
    assert_eq!(next(&view), None);
}

#[test]
fn a_server_that_moved_is_corrected_before_anything_else() {
    let mut view = view(3);
    lose(&mut view, 2, Liveness::Failed);
    view.members[2].address = address(33);
    let Some(Action::AddLearner { peer, .. }) = next(&view) else { panic!("not corrected") };
    assert_eq!((peer.node_id, peer.address, peer.voter), (id(3), address(33), true));
}

#[test]
fn a_peer_that_moved_to_where_another_was_has_not_replaced_it() {
    let mut view = view(3);
    lose(&mut view, 3, Liveness::Unknown);
    (view.peers[1].address, view.members[1].address) = (address(3), address(3));
    let patient =
        AutopilotConfiguration { cleanup_dead_servers: false, ..AutopilotConfiguration::default() };
    assert_eq!(next_with(&view, &patient), None, "the third comes back at another address");
}

#[test]
fn the_leader_never_removes_itself() {
    let mut view = view(3);
    view.members[0].liveness = Liveness::Left;
    assert_eq!(next(&view), None);
}

#[test]
fn dead_learners_go_without_asking_for_a_quorum() {
    let mut view = view(2);
    view.peers.push(peer(3, false));
    view.members.push(member(3, Liveness::Failed));
    assert_eq!(removed(next(&view)), Some(id(3)));
}

#[test]
fn the_tolerance_counts_healthy_voters_beyond_a_quorum() {
    let mut view = view(5);
    let configuration = AutopilotConfiguration {
        last_contact_threshold: GoDuration(Duration::from_millis(200)),
        ..AutopilotConfiguration::default()
    };
    let tolerance = |view: &View| {
        failure_tolerance(&History::default().evaluate(view, &configuration, Duration::ZERO))
    };
    assert_eq!(tolerance(&view), 2);
    lose(&mut view, 5, Liveness::Failed);
    assert_eq!(tolerance(&view), 1);
    lose(&mut view, 4, Liveness::Failed);
    lose(&mut view, 3, Liveness::Failed);
    assert_eq!(tolerance(&view), 0);
}

/// What one server is in a made-up cluster.
#[derive(Debug, Clone, Copy)]
struct Server {
    member: Option<Liveness>,
    peer: Option<bool>,
    answers: bool,
    renamed: bool,
}

fn server() -> impl Strategy<Value = Server> {
    let liveness = prop_oneof![
        4 => Just(Liveness::Alive),
        2 => Just(Liveness::Failed),
        1 => Just(Liveness::Left),
    ];
    (proptest::option::weighted(0.9, liveness), proptest::option::weighted(0.7, any::<bool>()))
        .prop_flat_map(|(member, peer)| {
            (any::<bool>(), proptest::bool::weighted(0.2))
                .prop_map(move |(answers, renamed)| Server { member, peer, answers, renamed })
        })
}

fn made_up(servers: &[Server]) -> View {
    let mut view = view(1);
    for (n, server) in servers.iter().enumerate() {
        let n = n as u8 + 2;
        if let Some(voter) = server.peer {
            view.peers.push(peer(n, voter));
            if server.answers {
                touch(&mut view, n);
            }
        }
        if let Some(liveness) = server.member {
            let node_id = if server.renamed { id(n + 50) } else { id(n) };
            view.members.push(Member { node_id, ..member(n, liveness) });
        }
    }
    view
}

fn has_quorum(view: &View) -> bool {
    let voters: Vec<_> = view.peers.iter().filter(|peer| peer.voter).collect();
    let answering = voters.iter().filter(|peer| view.contact(&peer.node_id).is_recent()).count();
    answering > voters.len() / 2
}

fn carry_out(view: &mut View, action: &Action) {
    match action {
        Action::AddLearner { peer, .. } => {
            view.peers.retain(|known| known.node_id != peer.node_id);
            view.peers.push(peer.clone());
            let n = view.members.iter().find(|member| member.node_id == peer.node_id);
            assert_eq!(n.unwrap().liveness, Liveness::Alive);
            let contact = Contact { matched: Some(1000), ago: Some(Duration::ZERO) };
            view.contacts.insert(peer.node_id.clone(), contact);
        }
        Action::Promote { node_id, .. } => {
            let peer = view.peers.iter_mut().find(|peer| peer.node_id == *node_id).unwrap();
            assert!(!peer.voter);
            peer.voter = true;
        }
        Action::Remove { node_id, .. } => {
            let before = view.peers.len();
            view.peers.retain(|peer| peer.node_id != *node_id);
            assert_eq!(view.peers.len() + 1, before);
        }
    }
}

proptest! {
    #[test]
    fn a_quorum_is_kept_and_the_work_ends(servers in proptest::collection::vec(server(), 0..8)) {
        let mut view = made_up(&servers);
        let configuration = AutopilotConfiguration::default();
        let mut history = History::default();
        history.evaluate(&view, &configuration, Duration::ZERO);
        let (mut steps, mut now) = (0, LONG);
        loop {
            let evaluated = history.evaluate(&view, &configuration, now);
            let Some(action) = plan(&view, &evaluated, &configuration, now) else {
                // New learners have to become stable first.
                now += LONG;
                let evaluated = history.evaluate(&view, &configuration, now);
                if plan(&view, &evaluated, &configuration, now).is_none() {
                    break;
                }
                continue;
            };
            let had_quorum = has_quorum(&view);
            if let Action::Remove { node_id, .. } = &action {
                prop_assert_ne!(node_id, &view.this);
                prop_assert_ne!(view.liveness(node_id), Liveness::Alive);
                let voter = view.peers.iter().any(|peer| peer.node_id == *node_id && peer.voter);
                prop_assert!(had_quorum || !voter);
            }
            carry_out(&mut view, &action);
            prop_assert!(has_quorum(&view) || !had_quorum, "{action:?}");
            steps += 1;
            prop_assert!(steps < 100, "it goes on for ever");
        }
        let ids: BTreeSet<_> = view.peers.iter().map(|peer| &peer.node_id).collect();
        prop_assert_eq!(ids.len(), view.peers.len());
        prop_assert!(ids.contains(&view.this));
        // With a quorum, every alive server with a unique name is a member in the end.
        if has_quorum(&view) {
            for member in view.members.iter().filter(|member| is_alive(member)) {
                let is_held_up = view.peers.iter().any(|peer| {
                    peer.node_id != member.node_id && peer.address == member.address
                });
                prop_assert!(ids.contains(&member.node_id) || is_held_up, "{member:?}");
            }
        }
    }
}
