//! Metrics as Prometheus text, version 0.0.4 of the format.
//!
//! Counters and the sums of samples count from the start of the process. COMPAT: samples are
//! summaries whose quantiles are those of the last window, as Go's go-metrics shows them.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use super::{Reading, Registry, Row, Settings, Value};

/// The content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Returns the page of all metrics that `settings` show.
pub fn render(registry: &Registry, settings: &Settings, now: SystemTime) -> String {
    let mut lines: Vec<(Reading, (u64, f64))> = Vec::new();
    registry.totals(now, settings.retention, |reading, totals| lines.push((reading, totals)));
    lines.extend(registry.gauges().into_iter().map(|reading| (reading, (0, 0.0))));
    lines.sort_by(|(a, _), (b, _)| (a.row.name, &a.labels).cmp(&(b.row.name, &b.labels)));
    let mut page = Page { text: String::new(), row: None };
    for (reading, totals) in &lines {
        let name = settings.name(reading.row.name, matches!(reading.value, Value::Level(_)));
        if settings.filter.shows(&name) {
            let written = page.push(&identifier(&name), reading, *totals);
            written.expect("a text takes all that is written");
        }
    }
    page.text
}

struct Page {
    text: String,
    /// The row whose head was written last.
    row: Option<&'static str>,
}

impl Page {
    fn push(&mut self, name: &str, reading: &Reading, (count, sum): (u64, f64)) -> fmt::Result {
        self.push_head(name, reading.row, &reading.value)?;
        let (text, labels) = (&mut self.text, &reading.labels[..]);
        match &reading.value {
            Value::Events(_) => writeln!(text, "{name}{} {count}", Labels(labels, None)),
            Value::Level(level) => {
                writeln!(text, "{name}{} {}", Labels(labels, None), Number(*level))
            }
            Value::Observations(last) => {
                for q in QUANTILES {
                    let (labels, value) = (Labels(labels, Some(q)), Number(last.quantile(q)));
                    writeln!(text, "{name}{labels} {value}")?;
                }
                let labels = Labels(labels, None);
                writeln!(text, "{name}_sum{labels} {}", Number(sum))?;
                writeln!(text, "{name}_count{labels} {count}")
            }
        }
    }

    fn push_head(&mut self, name: &str, row: &'static Row, value: &Value) -> fmt::Result {
        if self.row.replace(row.name) == Some(row.name) {
            return Ok(());
        }
        let kind = match value {
            Value::Events(_) => "counter",
            Value::Level(_) => "gauge",
            Value::Observations(_) => "summary",
        };
        let help = row.help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}")
    }
}

/// Returns a name with what Prometheus does not take replaced by `_`.
fn identifier(name: &str) -> String {
    let taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    name.chars().map(|c| if taken(c) { c } else { '_' }).collect()
}

/// Labels in braces; nothing without any.
struct Labels<'a>(&'a [(&'static str, String)], Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = self.1.map(|q| ("quantile", q.to_string()));
        let mut separator = '{';
        for (name, value) in self.0.iter().chain(&quantile) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{separator}{name}=\"{value}\"")?;
            separator = ',';
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

/// A number as Prometheus reads it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() { f.write_str("NaN") } else { write!(f, "{}", self.0) }
    }
}
