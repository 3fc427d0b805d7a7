//! The log of a process: one line per event, as text or JSON, with a level that can be changed
//! while it runs.
//!
//! INVARIANT: logging never stops the process. Lines go through a bounded queue to a thread of
//! their own ([`writer`]); those that cannot be written are dropped and counted. INVARIANT: a value
//! cannot forge a line: control characters are escaped in every form ([`fields`]).

mod fields;
mod monitor;
mod writer;

use std::{io, sync::Arc, time::Duration};

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    fmt::MakeWriter,
    layer::{Layer, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

pub use self::monitor::LogLines;
use self::{
    fields::{ComponentLines, QuotedFields},
    monitor::{MonitorFilter, Monitors},
    writer::LineWriter,
};
use crate::metrics::Counter;

/// Lines that were dropped because the queue was full or the output failed, of all logs of
/// the process.
pub static DROPPED_LINES: Counter = Counter::new();

/// How long the end of the process waits for lines that were not written yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2026-01-02T15:04:05.000Z [INFO]  agent.server: message: key=value`, as Consul's logs. A
    /// target that begins with the first of a pair is printed with the second instead.
    Component(&'static [(&'static str, &'static str)]),
    /// `2026-01-02T15:04:05.000000Z  INFO target: message key=value`.
    Text,
    /// One JSON object per line, with the event's fields beside its level and message.
    FlatJson,
    /// One JSON object per line, with message and fields under `fields`.
    Json,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The filter has no meaning.
    #[error("the log filter {filter:?} is not valid")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The system refused the thread that writes.
    #[error("starting the log's thread")]
    Thread(#[source] io::Error),
    /// Something in this process logs already; its settings stay in force.
    #[error("logging was already started")]
    AlreadyStarted(#[source] TryInitError),
}

/// Why a filter was not put in force; the one before stays.
#[derive(Debug, thiserror::Error)]
pub enum SetLevelError {
    /// The filter has no meaning.
    #[error("the log filter {filter:?} is not valid")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The log is not the process's, as after [`StartError::AlreadyStarted`].
    #[error("the log is not in use")]
    Unused(#[source] reload::Error),
}

/// A running log. The end of the last clone waits until what was logged is written, for 1 s at
/// most: `main` keeps one to its end.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    monitor: MonitorFilter,
    monitors: Monitors,
    writer: Arc<FlushAtEnd>,
}

impl LogHandle {
    /// Puts another filter in force: a level, or directives as `EnvFilter` reads them.
    ///
    /// # Errors
    /// The filter has no meaning; the one before stays in force.
    pub fn set_level(&self, filter: &str) -> Result<(), SetLevelError> {
        let parsed = EnvFilter::try_new(filter)
            .map_err(|source| SetLevelError::Filter { filter: filter.to_owned(), source })?;
        self.filter.reload(parsed).map_err(SetLevelError::Unused)
    }

    /// Copies lines from now on, for one reader: those up to `level` that `filter` lets through,
    /// whatever level the log itself has.
    ///
    /// # Errors
    /// The filter has no meaning.
    pub fn subscribe(&self, level: Level, filter: &str) -> Result<LogLines, SetLevelError> {
        EnvFilter::try_new(filter)
            .map_err(|source| SetLevelError::Filter { filter: filter.to_owned(), source })?;
        Ok(self.monitors.add(&self.monitor, level, filter))
    }

    /// Returns how many lines were dropped because the queue was full or the output failed.
    pub fn dropped_lines(&self) -> u64 {
        self.writer.0.dropped_lines()
    }

    /// Waits until what was logged so far is written; `false` when that took more than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.writer.0.flush(limit)
    }
}

struct FlushAtEnd(LineWriter);

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// Starts the log of this process. Called once, before anything is logged. `filter` is a level or
/// directives as `EnvFilter` reads them.
///
/// # Errors
/// The filter has no meaning, or something logs already.
pub fn start(filter: &str, format: Format, output: Output) -> Result<LogHandle, StartError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| StartError::Filter { filter: filter.to_owned(), source })?;
    let writer = match output {
        Output::Stdout => LineWriter::start(io::stdout(), report_dropped),
        Output::Stderr => LineWriter::start(io::stderr(), report_dropped),
    };
    let (subscriber, log) = assemble(filter, format, writer.map_err(StartError::Thread)?);
    subscriber.try_init().map_err(StartError::AlreadyStarted)?;
    Ok(log)
}

/// Returns what receives events, and the handle to change it.
fn assemble(
    filter: EnvFilter,
    format: Format,
    writer: LineWriter,
) -> (impl Subscriber + Send + Sync, LogHandle) {
    let (filter, handle) = reload::Layer::new(filter);
    let (monitor_filter, monitor) = reload::Layer::new(monitor::off());
    let monitors = Monitors::default();
    let layers = vec![
        layer(format, writer.clone()).with_filter(filter),
        layer(format, monitors.clone()).with_filter(monitor_filter),
    ];
    let writer = Arc::new(FlushAtEnd(writer));
    let log = LogHandle { filter: handle, monitor, monitors, writer };
    (tracing_subscriber::registry().with(layers), log)
}

fn report_dropped(lines: u64) {
    tracing::warn!(lines, "log lines were dropped because the queue was full or the output failed");
}

/// Returns the layer that writes events in this form.
fn layer<S, W>(format: Format, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    match format {
        Format::Component(names) => layer.event_format(ComponentLines(names)).boxed(),
        Format::Text => layer.fmt_fields(QuotedFields).boxed(),
        Format::FlatJson => layer.json().flatten_event(true).boxed(),
        Format::Json => layer.json().boxed(),
    }
}

#[cfg(test)]
mod tests;
