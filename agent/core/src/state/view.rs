//! Views: the part of the catalog that answers one kind of question, as a [`State`] of its own.
//!
//! A client agent subscribes to views and answers from them as a server answers from the whole:
//! rows and indexes are those of the servers.

use lictor_api::{NodeName, ServiceName};

use super::{Folded, State, Topic, WatchSet, catalog::fold};

/// A part of the catalog. Names are folded, so that every spelling is the same view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// A node with its instances and checks.
    Node(Folded<NodeName>),
    /// The instances of a service with their nodes and checks.
    Service(Folded<ServiceName>),
    /// The mesh endpoints of a service with their nodes and checks.
    Connect(Folded<ServiceName>),
}

impl View {
    /// Returns the view of a node.
    pub fn node(name: &NodeName) -> Self {
        Self::Node(fold(name))
    }

    /// Returns the view of a service.
    pub fn service(name: &ServiceName) -> Self {
        Self::Service(fold(name))
    }

    /// Returns the view of a service's mesh endpoints.
    pub fn connect(name: &ServiceName) -> Self {
        Self::Connect(fold(name))
    }
}

impl State {
    /// Returns the part of this state that `view` shows; adds the topics that it depends on.
    pub fn view(&self, view: &View, topics: &mut WatchSet) -> Self {
        let catalog = match view {
            View::Node(node) => {
                topics.add(Topic::Node(node.clone()));
                self.catalog.part_of_node(node)
            }
            View::Service(service) => {
                topics.add(Topic::Service(service.clone()));
                self.catalog.part_of_service(service)
            }
            View::Connect(service) => {
                topics.add(Topic::Connect(service.clone()));
                self.catalog.part_of_destination(service)
            }
        };
        Self {
            index: self.index,
            index_offset: self.index_offset,
            index_floor: self.index_floor,
            catalog,
            ..Self::default()
        }
    }
}

impl State {
    /// Returns the same catalog with the addresses and ports tagged `wan`, where there are any.
    pub fn over_wan(self) -> Self {
        Self { catalog: self.catalog.over_wan(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::wire;

    use super::*;
    use crate::{
        fsm::{self, Command},
        state::watch::Touched,
    };

    fn state() -> State {
        let mut state = State::default();
        for (index, body) in [
            r#"{"Node":"n1","Address":"10.0.0.1","Service":{"Service":"web"},
                "Check":{"Name":"alive","Status":"passing"}}"#,
            r#"{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"web"},
                "Check":{"Name":"w","ServiceID":"web","Status":"critical"}}"#,
            r#"{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"db"}}"#,
        ]
        .into_iter()
        .enumerate()
        {
            let command = Command::Register(wire::from_slice(body.as_bytes()).unwrap());
            fsm::apply(&mut state, index as u64 + 5, command, &mut Touched::default());
        }
        state
    }

    fn rows(state: &State, service: &str) -> Vec<String> {
        let instances = state.catalog.service_instances(service);
        instances.map(|i| serde_json::to_string(&i.to_check_service_node()).unwrap()).collect()
    }

    #[test]
    fn a_view_of_a_service_answers_as_the_whole_does() {
        let (whole, mut topics) = (state(), WatchSet::default());
        let view = whole.view(&View::service(&"web".into()), &mut topics);
        assert_eq!(rows(&view, "web"), rows(&whole, "web"));
        assert_eq!(rows(&view, "web").len(), 2);
        assert!(rows(&view, "db").is_empty(), "nothing else is in it");
        let topic = Topic::Service(fold(&"web".into()));
        assert_eq!(view.topic_index(&topic), whole.topic_index(&topic));
        assert_eq!(topics.index(&whole), topics.index(&view));
    }

    #[test]
    fn over_the_wan_nodes_and_instances_have_the_addresses_tagged_so() {
        let mut state = State::default();
        let body = r#"{"Node":"n1","Address":"10.0.0.1","TaggedAddresses":{"wan":"1.2.3.4"},
            "Service":{"Service":"web","Address":"10.0.0.9","Port":80,
                       "TaggedAddresses":{"wan":{"Address":"1.2.3.9","Port":8080}}}}"#;
        let other = r#"{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"web","Port":80}}"#;
        for (index, body) in [(5, body), (6, other)] {
            let command = Command::Register(wire::from_slice(body.as_bytes()).unwrap());
            fsm::apply(&mut state, index, command, &mut Touched::default());
        }
        let seen = state.over_wan();
        let rows = seen.catalog.service_instances("web");
        let rows = rows.map(|row| (&*row.node.address, row.address(), row.service.port));
        let expected = [("1.2.3.4", "1.2.3.9", 8080), ("10.0.0.2", "10.0.0.2", 80)];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_view_of_a_node_survives_its_way_as_a_snapshot() {
        let (whole, mut topics) = (state(), WatchSet::default());
        let view = whole.view(&View::node(&"N2".into()), &mut topics);
        let there = State::from_snapshot(&view.to_snapshot().unwrap()).unwrap();
        let ids = |state: &State| {
            state.catalog.node_services("n2").map(|s| s.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&there), ["db", "web"]);
        assert_eq!(there.topic_index(&Topic::Node(fold(&"n2".into()))), 7);
    }
}
