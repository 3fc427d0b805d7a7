//! Real clients: dig, curl, and the CLI under test.

use std::process::{Command, Output};

/// Runs a client to its end.
///
/// # Panics
/// When the program is not installed.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed for this test: {error}"))
}

/// What a client printed, without the last line's end.
///
/// # Panics
/// When the program is not installed.
pub fn stdout(program: &str, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&run(program, arguments).stdout).trim_end().to_owned()
}

/// What a program printed that must not fail.
///
/// # Panics
/// With what it printed when it fails, or is not installed.
pub fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {stdout}{stderr}");
    stdout
}

/// Whether a client is there; a test that needs it says so and passes where it is not, except in
/// CI.
///
/// # Panics
/// In CI, when it is missing.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} must be installed in CI");
        println!("skipped: {program} is not installed");
    }
    found
}
