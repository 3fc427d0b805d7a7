//! With the server stopped, running sidecars go on; when it returns they resume without a restart.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    time::Duration,
};

use harness::{Agent, Process, binary::binary, ports, within};
use serde_json::json;

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut text = String::new();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut text).is_ok()
        && text.ends_with("Japan")
}

fn eventually_answers(what: &str, port: u16, expected: bool) {
    within(Duration::from_secs(20), what, || (answers(port) == expected).then_some(()));
}

#[test]
fn sidecars_go_on_without_the_server_and_resume_when_it_returns() {
    let mut agent = Agent::server(json!({}));
    let (app, public, local) = (ports::free(), ports::free(), ports::free());
    let start = |name: &str, arguments: &[&str]| {
        let log = agent.dir().join(format!("{name}.log"));
        let mut command = Command::new(binary("lictor"));
        command.args(arguments).env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.ports.http));
        Process::start(&mut command, &log)
    };
    let _app =
        start("app", &["demo", "app", "-prefix=Japan", "-listen", &format!("127.0.0.1:{app}")]);
    let service = json!({"Name": "japan-app", "Port": app, "Connect": {"SidecarService": {"Port": public,
        "Check": {"TCP": format!("127.0.0.1:{public}"), "Interval": "1s"}}}});
    agent.put("/v1/agent/service/register", &service.to_string());
    let mut sidecar = start("sidecar", &["connect", "proxy", "-sidecar-for", "japan-app"]);
    let mut client = start(
        "client",
        &["connect", "proxy", "-service", "corp-app", "-upstream", &format!("japan-app:{local}")],
    );
    eventually_answers("an answer through the mesh", local, true);
    assert_eq!(agent.stop(), Some(0));
    for _ in 0..20 {
        assert!(answers(local), "new connections work while the server is away");
    }
    agent.restart();
    assert!(answers(local));
    agent.cli_stdout(&["intention", "create", "-deny", "corp-app", "japan-app"]);
    eventually_answers("the intention made after the return to be felt", local, false);
    agent.cli_stdout(&["intention", "delete", "corp-app", "japan-app"]);
    eventually_answers("an answer again", local, true);
    assert!(sidecar.is_running() && client.is_running());
}
