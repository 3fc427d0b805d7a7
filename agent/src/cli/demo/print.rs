//! How the demo speaks: numbered steps, checked claims, colors only on a terminal.

#![expect(clippy::print_stdout, reason = "this is the command line's output")]

use std::io::IsTerminal;

fn paint(code: &str, text: &str) -> String {
    let colors = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colors { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The title of a step.
pub(super) fn step(number: usize, title: &str) {
    println!("\n{}", paint("1", &format!("{number}. {title}")));
}

/// Something a viewer could type.
pub(super) fn command(text: &str) {
    println!("   {} {}", paint("2", "$"), paint("36", text));
}

/// A line of an answer.
pub(super) fn answer(text: &str) {
    println!("   {text}");
}

/// A claim that was checked and holds.
pub(super) fn holds(claim: &str) {
    println!("   {} {claim}", paint("32", "ok"));
}
