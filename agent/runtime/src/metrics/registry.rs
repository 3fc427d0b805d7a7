//! The table of a process's metrics, and its windows.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    distribution::Distribution,
    handle::{Counter, Family, Gauge, Sample},
};

/// How long a window is. Windows begin at multiples of it, so that those of several machines cover
/// the same time.
pub const WINDOW: Duration = Duration::from_secs(10);

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The name without what [`super::Settings`] puts before it; parts are separated by dots.
    pub name: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// What it tells, for operators.
    pub help: &'static str,
    /// What code counts with.
    pub handle: Handle,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// 0 for no, 1 for yes.
    Flag,
}

/// What a row's values are counted with.
#[derive(Debug)]
pub enum Handle {
    /// One counter.
    Counter(&'static Counter),
    /// Counters with labels.
    Counters(&'static Family<Counter>),
    /// One gauge.
    Gauge(&'static Gauge),
    /// Gauges with labels.
    Gauges(&'static Family<Gauge>),
    /// One sample.
    Sample(&'static Sample),
    /// Samples with labels.
    Samples(&'static Family<Sample>),
}

impl Handle {
    /// Returns the kind in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::Counters(_) => "counter",
            Self::Gauge(_) | Self::Gauges(_) => "gauge",
            Self::Sample(_) | Self::Samples(_) => "sample",
        }
    }

    /// Returns the names of the labels.
    pub fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::Counter(_) | Self::Gauge(_) | Self::Sample(_) => &[],
            Self::Counters(family) => family.labels(),
            Self::Gauges(family) => family.labels(),
            Self::Samples(family) => family.labels(),
        }
    }
}

/// What one series says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The events of a window.
    Events(Distribution),
    /// The value of a gauge.
    Level(f64),
    /// The observations of a window.
    Observations(Distribution),
}

/// One series.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its row.
    pub row: &'static Row,
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// What it says.
    pub value: Value,
}

/// What was counted from one multiple of [`WINDOW`] to the next.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// When it began, in Unix seconds.
    pub started: u64,
    /// The counters and samples that anything was counted in, by name and labels.
    pub readings: Vec<Reading>,
}

/// The metrics of a process.
#[derive(Debug)]
pub struct Registry {
    rows: &'static [Row],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the window under way began, in Unix seconds; 0 before anything was asked.
    started: u64,
    closed: Option<Arc<Window>>,
}

/// A series while it is read.
enum Series {
    Counter(&'static Counter),
    Gauge(&'static Gauge),
    Sample(&'static Sample),
}

impl Registry {
    /// Returns the metrics of a table.
    pub const fn new(rows: &'static [Row]) -> Self {
        Self { rows, state: Mutex::new(State { started: 0, closed: None }) }
    }

    /// Returns the table.
    pub fn rows(&self) -> &'static [Row] {
        self.rows
    }

    /// Closes the window that is over at `now`, if one is, and returns the last closed one. To be
    /// called once a window at least, or windows become longer.
    pub fn close_window(&self, now: SystemTime) -> Option<Arc<Window>> {
        self.advance(now).closed.clone()
    }

    /// Returns the window that was closed last, or the one under way while there is no other.
    pub fn last_window(&self, now: SystemTime) -> Arc<Window> {
        let state = self.advance(now);
        let open = || Arc::new(Window { started: state.started, readings: self.read(None) });
        state.closed.clone().unwrap_or_else(open)
    }

    /// Returns the gauges that have a value.
    pub fn gauges(&self) -> Vec<Reading> {
        let mut gauges = Vec::new();
        self.each(|row, labels, series| {
            if let Series::Gauge(gauge) = series
                && let Some(level) = gauge.value()
            {
                gauges.push(Reading { row, labels, value: Value::Level(level) });
            }
        });
        sort(&mut gauges);
        gauges
    }

    /// Calls `each` with every counter and sample that was ever used or has no labels, in the
    /// order of the table, its total, and for samples the last closed window.
    pub(super) fn totals(
        &self,
        now: SystemTime,
        retention: Duration,
        mut each: impl FnMut(Reading, (u64, f64)),
    ) {
        // Held meanwhile, so that no window closes between the parts of a total.
        let state = self.advance(now);
        let oldest = unix_seconds(now).saturating_sub(retention.as_secs() + WINDOW.as_secs());
        self.each(|row, labels, series| {
            let (events, counted_at, value, totals) = match series {
                Series::Gauge(_) => return,
                Series::Counter(counter) => {
                    let (open, total) = (counter.open(), counter.total());
                    let value = Value::Events(Distribution::default());
                    (open, counter.counted_at(), value, (total, total as f64))
                }
                Series::Sample(sample) => {
                    let last = state.closed.as_ref().and_then(|window| window.find(row, &labels));
                    let value = Value::Observations(last.unwrap_or_else(|| match state.closed {
                        Some(_) => Distribution::default(),
                        None => sample.open(),
                    }));
                    (sample.open().count, sample.counted_at(), value, sample.totals())
                }
            };
            if labels.is_empty() || events > 0 || counted_at >= oldest {
                each(Reading { row, labels, value }, totals);
            }
        });
    }

    fn advance(&self, now: SystemTime) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_seconds(now);
        let started = now - now % WINDOW.as_secs();
        if state.started == 0 {
            state.started = started;
        } else if state.started != started {
            // A window that nothing closed in time is as long as it was open.
            let readings = self.read(Some(state.started));
            state.closed = Some(Arc::new(Window { started: state.started, readings }));
            state.started = started;
        }
        state
    }

    /// Returns what was counted in the window under way, and closes it if that began at `closing`.
    fn read(&self, closing: Option<u64>) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.each(|row, labels, series| {
            let value = match series {
                Series::Gauge(_) => return,
                Series::Counter(counter) => {
                    let events = closing.map_or_else(|| counter.open(), |at| counter.close(at));
                    Value::Events(Distribution::of_events(events))
                }
                Series::Sample(sample) => Value::Observations(
                    closing.map_or_else(|| sample.open(), |at| sample.close(at)),
                ),
            };
            let (Value::Events(counted) | Value::Observations(counted)) = &value else { return };
            if counted.count > 0 {
                readings.push(Reading { row, labels, value });
            }
        });
        sort(&mut readings);
        readings
    }

    fn each(&self, mut each: impl FnMut(&'static Row, Vec<(&'static str, String)>, Series)) {
        for row in self.rows {
            match &row.handle {
                Handle::Counter(counter) => each(row, Vec::new(), Series::Counter(counter)),
                Handle::Gauge(gauge) => each(row, Vec::new(), Series::Gauge(gauge)),
                Handle::Sample(sample) => each(row, Vec::new(), Series::Sample(sample)),
                Handle::Counters(family) => {
                    let series = family.series().into_iter();
                    series.for_each(|(labels, one)| each(row, labels, Series::Counter(one)));
                }
                Handle::Gauges(family) => {
                    let series = family.series().into_iter();
                    series.for_each(|(labels, one)| each(row, labels, Series::Gauge(one)));
                }
                Handle::Samples(family) => {
                    let series = family.series().into_iter();
                    series.for_each(|(labels, one)| each(row, labels, Series::Sample(one)));
                }
            }
        }
    }
}

impl Window {
    fn find(&self, row: &Row, labels: &[(&'static str, String)]) -> Option<Distribution> {
        let found = |reading: &&Reading| reading.row.name == row.name && reading.labels == labels;
        match &self.readings.iter().find(found)?.value {
            Value::Observations(distribution) => Some(distribution.clone()),
            Value::Events(_) | Value::Level(_) => None,
        }
    }
}

/// Returns how long it is until the window under way at `now` is over.
pub fn until_next_window(now: SystemTime) -> Duration {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let into = Duration::new(since_epoch.as_secs() % WINDOW.as_secs(), since_epoch.subsec_nanos());
    WINDOW - into
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn sort(readings: &mut [Reading]) {
    readings.sort_by(|a, b| (a.row.name, &a.labels).cmp(&(b.row.name, &b.labels)));
}
