use lictor_api::types::{
    agent::AgentService,
    catalog::{CatalogService, Node, NodeService, ServiceKind},
    health::{CheckServiceNode, CheckStatus, HealthCheck},
};
use proptest::prelude::*;

use super::*;

fn row() -> CheckServiceNode {
    let mut row = CheckServiceNode::default();
    row.node.name = "foo".into();
    row.node.meta.insert("os".into(), "linux".into());
    row.node.meta.insert("rack.no-1".into(), "r1".into());
    row.service.service = "redis".into();
    row.service.tags = vec!["v1".into(), "primary".into()];
    row.service.port = 8080;
    row.service.meta.insert("version".into(), "2".into());
    for status in [CheckStatus::Passing, CheckStatus::Warning] {
        row.checks.push(HealthCheck { status, ..HealthCheck::default() });
    }
    row
}

#[test]
fn expressions_select_as_in_consul() {
    for (expression, passes) in [
        ("", true),
        ("Node.Node == foo", true),
        ("Node.Node==\"foo\"", true),
        ("Node.Node == `foo`", true),
        ("Node.Node != foo", false),
        ("Node.Meta.os == linux", true),
        ("Node.Meta[\"os\"] == linux", true),
        ("Node.Meta[ `rack.no-1` ] == r1", true),
        ("Node.Meta.missing == linux", false),
        ("Node.Meta.missing != linux", true),
        ("Node.Meta.missing matches `.*`", false),
        ("Node.Meta.missing not matches `.*`", true),
        ("os in Node.Meta", true),
        ("Node.Meta contains os", true),
        ("Node.Meta not contains os", false),
        ("Service.Meta.version == 2", true),
        ("Service.Port == 8080", true),
        ("Service.Port != 8080", false),
        ("Service.EnableTagOverride == false", true),
        ("v1 in Service.Tags", true),
        ("v2 not in Service.Tags", true),
        ("Service.Tags contains \"primary\"", true),
        ("Service.Tags is empty", false),
        ("Service.Tags is not empty", true),
        ("Service.TaggedAddresses is empty", true),
        ("Service.Kind == ``", true),
        ("Service.Kind != \"connect-proxy\"", true),
        ("Service.Connect.Native == false", true),
        ("edi in Service.Service", true),
        ("Service.Service matches `^red`", true),
        ("Service.Service not matches `^red`", false),
        ("Checks.Status == warning", true),
        ("Checks.Status == critical", false),
        ("Checks is not empty", true),
        ("not Node.Node == foo", false),
        ("not (Node.Node == bar)", true),
        ("not not Node.Node == foo", true),
        ("Node.Node == bar or Node.Node == foo", true),
        ("Node.Node == bar or Node.Node == foo and Service.Service == web", false),
        ("(Node.Node == bar or Node.Node == foo) and Service.Service == redis", true),
        ("  ( ( Node.Node == foo ) )  ", true),
        ("Node.Node == \"say \\\"x\\\"\"", false),
    ] {
        let filter = Filter::parse::<CheckServiceNode>(expression);
        let filter = filter.unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(filter.passes(&row()).unwrap(), passes, "{expression}");
    }
}

#[test]
fn a_field_left_out_of_the_json_can_be_selected() {
    let proxy = NodeService { kind: ServiceKind::ConnectProxy, ..NodeService::default() };
    let filter = Filter::parse::<NodeService>("Kind == \"connect-proxy\"").unwrap();
    assert!(filter.passes(&proxy).unwrap());
    assert!(!filter.passes(&NodeService::default()).unwrap());
}

#[test]
fn a_bad_expression_names_what_is_wrong() {
    for (expression, message) in [
        ("Node.Nope == x", "Selector \"Node.Nope\" is not valid"),
        ("Nope is empty", "Selector \"Nope\" is not valid"),
        ("Node == x", "Selector \"Node\" is not valid"),
        ("Node.Node.Deep == x", "Selector \"Node.Node.Deep\" is not valid"),
        ("Service.Proxy.Config.x == 1", "Selector \"Service.Proxy.Config.x\" is not valid"),
        ("Node.Node is empty", "Invalid match operator \"Is Empty\" for selector \"Node.Node\""),
        (
            "Service.Port matches x",
            "Invalid match operator \"Matches\" for selector \"Service.Port\"",
        ),
        ("Checks contains x", "Invalid match operator \"In\" for selector \"Checks\""),
        ("Service.Port == web", "failed to coerce value \"web\" for selector \"Service.Port\""),
        ("Service.Connect.Native == 2", "failed to coerce value \"2\""),
        ("Node.Node matches `(`", "error parsing regexp: "),
        ("Node.Node", "no match found"),
        ("Node.Node = x", "no match found"),
        ("Node.Node == foo bar", "1:18 (17): no match found"),
        ("Node.Node == \"foo", "no match found"),
        ("(Node.Node == foo", "no match found"),
        ("Node.Node == foo)", "1:17 (16): no match found"),
        ("== foo", "1:1 (0): no match found"),
        ("and", "no match found"),
    ] {
        match Filter::parse::<CheckServiceNode>(expression) {
            Ok(_) => panic!("{expression} was accepted"),
            Err(error) => assert!(error.to_string().contains(message), "{expression}: {error}"),
        }
    }
    let deep = format!("{}Node.Node == foo", "not ".repeat(parse::MAX_DEPTH));
    assert_eq!(Filter::parse::<CheckServiceNode>(&deep).err(), Some(FilterError::TooDeep));
    let deep = "(".repeat(100_000);
    assert_eq!(Filter::parse::<CheckServiceNode>(&deep).err(), Some(FilterError::TooDeep));
    let allowed = format!("{}Node.Node == foo", "not ".repeat(parse::MAX_DEPTH - 1));
    assert!(Filter::parse::<CheckServiceNode>(&allowed).is_ok());
}

#[test]
fn every_row_type_can_be_described() {
    for shape in [
        Shape::of::<Node>(),
        Shape::of::<NodeService>(),
        Shape::of::<CatalogService>(),
        Shape::of::<HealthCheck>(),
        Shape::of::<CheckServiceNode>(),
        Shape::of::<AgentService>(),
    ] {
        assert!(matches!(shape, Ok(Shape::Struct(fields)) if fields.len() > 2));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(not |and |or |in |is |empty |==|!=|[A-Za-z.\"`\\[\\]()\\\\ ]|Node|\\PC){0,40}") {
        if let Ok(filter) = Filter::parse::<CheckServiceNode>(&text) {
            filter.passes(&row()).unwrap();
        }
    }
}
