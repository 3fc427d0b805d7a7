//! `lictor snapshot inspect`: what a saved state is and what takes its space.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use lictor_core::state::State;
use serde::Serialize;

use crate::{
    archive::Archive,
    cli::{Verb, output},
};

/// How to print.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Pretty,
    Json,
}

/// Flags of `snapshot inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectVerb {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// Show what takes the space among keys, too
    #[arg(long)]
    kvdetails: bool,
    /// With -kvdetails: how many parts of a key to group by
    #[arg(long, default_value_t = 2)]
    kvdepth: usize,
    /// With -kvdetails: only keys that begin with this
    #[arg(long, default_value = "")]
    kvfilter: String,
    /// The file that `snapshot save` wrote
    file: PathBuf,
}

/// Count and size of the rows of one kind. Sizes are those of the rows as JSON.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stat {
    name: String,
    sum: usize,
    count: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    #[serde(rename = "ID")]
    id: String,
    size: u64,
    index: u64,
    term: u64,
    version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    meta: Summary,
    stats: Vec<Stat>,
    #[serde(rename = "StatsKV")]
    stats_kv: Option<Vec<Stat>>,
    total_size: usize,
    #[serde(rename = "TotalSizeKV")]
    total_size_kv: usize,
}

impl Verb for InspectVerb {
    const PATH: &'static str = "snapshot inspect";
    const ABOUT: &'static str = "Show what a saved state holds";
    const DETAILS: &'static str = "\
Needs no agent. All of the file is verified.

Examples:
  lictor snapshot inspect backup.snap
  lictor snapshot inspect -kvdetails -kvdepth 3 -kvfilter app/ backup.snap";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let archive = super::open(&self.file)?;
        let keys = self.kvdetails.then(|| keys(&archive.state, self.kvdepth, &self.kvfilter));
        let report = report(&archive, keys);
        match self.format {
            Format::Json => output::value(&serde_json::to_vec_pretty(&report)?)?,
            Format::Pretty => output::line(pretty(&report).trim_end()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn report(archive: &Archive, keys: Option<Vec<Stat>>) -> Report {
    let meta = &archive.meta;
    let mut stats = BTreeMap::new();
    for (kind, row) in super::rows(&archive.state) {
        count(&mut stats, kind, row.to_string().len());
    }
    let stats = largest_first(stats);
    Report {
        meta: Summary {
            id: meta.id.clone(),
            size: meta.size,
            index: meta.index,
            term: meta.term,
            version: meta.version,
        },
        total_size: sum(&stats),
        stats,
        total_size_kv: keys.as_deref().map_or(0, sum),
        stats_kv: keys,
    }
}

/// Groups the keys below `prefix` by their first `depth` parts.
fn keys(state: &State, depth: usize, prefix: &str) -> Vec<Stat> {
    let mut stats = BTreeMap::new();
    for pair in state.kv.list(prefix) {
        let parts: Vec<&str> = pair.key.split('/').take(depth.max(1)).collect();
        count(&mut stats, &parts.join("/"), super::json(pair).to_string().len());
    }
    largest_first(stats)
}

fn count(stats: &mut BTreeMap<String, Stat>, name: &str, bytes: usize) {
    let stat = stats.entry(name.to_owned()).or_default();
    stat.sum += bytes;
    stat.count += 1;
}

fn largest_first(stats: BTreeMap<String, Stat>) -> Vec<Stat> {
    let mut stats: Vec<Stat> =
        stats.into_iter().map(|(name, stat)| Stat { name, ..stat }).collect();
    stats.sort_by_key(|stat| std::cmp::Reverse(stat.sum));
    stats
}

fn sum(stats: &[Stat]) -> usize {
    stats.iter().map(|stat| stat.sum).sum()
}

/// Renders the report. COMPAT: Consul's tables: a blank before each line, two columns of text, three of figures.
fn pretty(report: &Report) -> String {
    let meta = &report.meta;
    let mut text = String::new();
    for (name, value) in [
        ("ID", meta.id.clone()),
        ("Size", meta.size.to_string()),
        ("Index", meta.index.to_string()),
        ("Term", meta.term.to_string()),
        ("Version", meta.version.to_string()),
    ] {
        text.push_str(&format!(" {name:<13}{value}\n"));
    }
    text.push_str(&table("Type", &report.stats, report.total_size));
    if let Some(keys) = &report.stats_kv {
        text.push_str(&table("Key Name", keys, report.total_size_kv));
    }
    text
}

fn table(title: &str, stats: &[Stat], total: usize) -> String {
    let width = output::widest(stats.iter().map(|stat| &stat.name)).max(24);
    let row = |name: &str, count: &str, size: &str| {
        let row = format!(" {}    {count:<9}  {size}", output::pad(name, width));
        row.trim_end().to_owned() + "\n"
    };
    let mut text = "\n".to_owned() + &row(title, "Count", "Size");
    text.push_str(&row("----", "----", "----"));
    for stat in stats {
        text.push_str(&row(&stat.name, &stat.count.to_string(), &size(stat.sum)));
    }
    text.push_str(&row("----", "----", "----"));
    text + &row("Total", "", &size(total))
}

/// Renders a size as `281B` or `1.8KB`.
fn size(bytes: usize) -> String {
    let units = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes}B");
    };
    let figure = format!("{:.1}", bytes as f64 / unit as f64);
    format!("{}{name}", figure.trim_end_matches(".0"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::archive;
    use lictor_core::{
        fsm::{Command, KvCommand, apply},
        state::watch::Touched,
    };

    fn report_of(keys_below: &[&str]) -> Report {
        let mut state = State::default();
        for (n, key) in keys_below.iter().enumerate() {
            let value = Bytes::from(vec![b'x'; 600]);
            let command = KvCommand::Set { key: (*key).to_owned(), flags: 0, value };
            apply(&mut state, n as u64 + 9, Command::Kv(command), &mut Touched::default());
        }
        let mut archive =
            archive::unpack(&archive::pack(&state, 2, vec![], 5).unwrap()[..]).unwrap();
        // What the file takes changes with every table that a state gets.
        archive.meta.size = 2338;
        let details = keys(&archive.state, 2, "a/");
        report(&archive, Some(details))
    }

    #[test]
    fn the_tables_read_as_consuls() {
        let expected = [
            " ID           2-11-5",
            " Size         2338",
            " Index        11",
            " Term         2",
            " Version      1",
            "",
            " Type                        Count      Size",
            " ----                        ----       ----",
            " KVS                         3          2.6KB",
            " ----                        ----       ----",
            " Total                                  2.6KB",
            "",
            " Key Name                    Count      Size",
            " ----                        ----       ----",
            " a/b                         2          1.7KB",
            " ----                        ----       ----",
            " Total                                  1.7KB",
            "",
        ];
        assert_eq!(pretty(&report_of(&["a/b/c", "a/b/d", "東京"])), expected.join("\n"));
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(0, "0B"), (281, "281B"), (1024, "1KB"), (1850, "1.8KB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
