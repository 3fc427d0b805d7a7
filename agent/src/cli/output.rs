//! Plain tables and the places that verbs print to and read from.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line's output")]

use std::io::{IsTerminal, Read, Write};

use anyhow::Context;
use unicode_width::UnicodeWidthStr;

/// Prints one line.
pub(super) fn line(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// Prints one line to stderr.
pub(super) fn error_line(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Prints bytes as they are and ends the line.
pub(super) fn value(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).context("writing to stdout")?;
    stdout.write_all(b"\n").context("writing to stdout")
}

/// Prints rows as left-aligned columns with two blanks between them. COMPAT: scripts split
/// Consul's tables by such columns. The first row is the header.
pub(super) fn table(rows: &[Vec<String>]) {
    print!("{}", render(rows));
}

/// Lays rows out for [`table`], a line per row.
fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|column| widest(rows.iter().filter_map(|row| row.get(column)))).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad(cell, width + 2));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

/// Returns how many columns of a terminal the widest of `cells` takes.
pub(super) fn widest<'a>(cells: impl Iterator<Item = &'a String>) -> usize {
    cells.map(|cell| cell.width()).max().unwrap_or(0)
}

/// Fills `cell` up with blanks to `width` columns of a terminal.
pub(super) fn pad(cell: &str, width: usize) -> String {
    // The formatter's own padding counts characters, of which some take two columns or none.
    format!("{cell}{:1$}", "", width.saturating_sub(cell.width()))
}

/// Makes a row from texts.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

/// Reads the data that an argument names: the bytes of `@file`, stdin for `-`, else the argument.
///
/// # Errors
/// The file or stdin cannot be read.
pub(super) fn data(argument: &str) -> anyhow::Result<Vec<u8>> {
    if argument == "-" {
        let mut bytes = Vec::new();
        if std::io::stdin().is_terminal() {
            error_line("Reading from stdin; end with Ctrl-D.");
        }
        std::io::stdin().read_to_end(&mut bytes).context("reading stdin")?;
        return Ok(bytes);
    }
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read(path).with_context(|| format!("reading {path}")),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_a_terminal_shows_them() {
        let rows = [row(["Node", "DC"]), row(["東京", "dc1"]), row(["zu\u{308}rich", "dc2"])];
        let lines = ["Node    DC", "東京    dc1", "zu\u{308}rich  dc2", ""];
        assert_eq!(render(&rows), lines.join("\n"));
    }

    #[test]
    fn a_row_may_be_shorter_and_ends_without_blanks() {
        let rows = [row(["a", "bb", "c"]).to_vec(), row(["long"]), row(["x", ""])];
        assert_eq!(render(&rows), "a     bb  c\nlong\nx\n");
    }
}
