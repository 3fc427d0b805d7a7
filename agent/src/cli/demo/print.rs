//! What the demo prints: numbered steps, checked claims, colors only on a terminal.

#![expect(clippy::print_stdout, reason = "this is the command line's output")]

use std::io::IsTerminal;

fn paint(code: &str, text: &str) -> String {
    let colors = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colors { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Prints the title of a step.
pub(super) fn step(number: usize, title: &str) {
    println!("\n{}", paint("1", &format!("{number}. {title}")));
}

/// Prints a command that a viewer could type.
pub(super) fn command(text: &str) {
    println!("   {} {}", paint("2", "$"), paint("36", text));
}

/// Prints a line of output.
pub(super) fn answer(text: &str) {
    println!("   {text}");
}

/// Prints a claim that was checked and holds.
pub(super) fn holds(claim: &str) {
    println!("   {} {claim}", paint("32", "ok"));
}
