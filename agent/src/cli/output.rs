//! Plain tables and the places that verbs print to and read from.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line's output")]

use std::io::{IsTerminal, Read, Write};

use anyhow::Context;

/// Prints one line.
pub(super) fn line(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// Prints one line to stderr.
pub(super) fn error_line(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Prints bytes as they are, with a line's end only for people.
pub(super) fn value(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).context("writing to stdout")?;
    stdout.write_all(b"\n").context("writing to stdout")
}

/// Prints rows as left-aligned columns with two blanks between them. COMPAT: scripts split
/// Consul's tables by such columns. The first row is the header.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        println!("{}", text.trim_end());
    }
}

/// A row from texts.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

/// What an argument stands for: `@file` is the file's bytes, `-` is stdin, the rest is itself.
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
