//! Copies of the log's lines for readers with a level of their own, as they are written.
//!
//! INVARIANT: a reader that does not keep up loses lines, counted, and slows nothing else. While
//! nobody reads, nothing is formatted.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, Registry, fmt::MakeWriter, reload};

/// How many lines wait for a reader.
const MAX_WAITING_LINES: usize = 512;

/// The readers of one log.
#[derive(Clone, Default)]
pub(super) struct Monitors(Arc<Mutex<Vec<Reader>>>);

/// What this log's readers want of it.
pub(super) type MonitorFilter = reload::Handle<EnvFilter, Registry>;

struct Reader {
    level: Level,
    filter: String,
    lines: mpsc::Sender<Arc<str>>,
    dropped: Arc<AtomicU64>,
}

/// Lines of the log from now on. Dropping it ends the copying.
pub struct LogLines {
    lines: mpsc::Receiver<Arc<str>>,
    dropped: Arc<AtomicU64>,
    monitors: Monitors,
    layer: MonitorFilter,
}

impl LogLines {
    /// Waits for the next line, with its end.
    ///
    /// # Cancel safety
    /// Cancel safe: no line is lost.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        self.lines.recv().await
    }

    /// Returns how many lines were dropped since the last call, because they were not read in time.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Drop for LogLines {
    fn drop(&mut self) {
        self.lines.close();
        self.monitors.refresh(&self.layer);
    }
}

impl Monitors {
    /// Adds a reader of lines up to `level`, which `filter` lets through.
    pub(super) fn add(&self, layer: &MonitorFilter, level: Level, filter: &str) -> LogLines {
        let (sender, lines) = mpsc::channel(MAX_WAITING_LINES);
        let dropped = Arc::<AtomicU64>::default();
        let (filter, counted) = (filter.to_owned(), Arc::clone(&dropped));
        self.readers().push(Reader { level, filter, lines: sender, dropped: counted });
        self.refresh(layer);
        LogLines { lines, dropped, monitors: self.clone(), layer: layer.clone() }
    }

    /// Forgets readers that are gone, and lets through what the most verbose of the others wants.
    fn refresh(&self, layer: &MonitorFilter) {
        let filter = {
            let mut readers = self.readers();
            readers.retain(|reader| !reader.lines.is_closed());
            let verbose = readers.iter().max_by_key(|reader| LevelFilter::from(reader.level));
            verbose.map_or_else(off, |reader| EnvFilter::new(&reader.filter))
        };
        if let Err(error) = layer.reload(filter) {
            tracing::debug!(%error, "the log is gone");
        }
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the filter of a log that nobody reads.
pub(super) fn off() -> EnvFilter {
    EnvFilter::new("off")
}

/// Takes one line for all readers of its level.
pub(super) struct LineOf {
    monitors: Monitors,
    level: Level,
}

impl<'a> MakeWriter<'a> for Monitors {
    type Writer = LineOf;

    fn make_writer(&'a self) -> LineOf {
        LineOf { monitors: self.clone(), level: Level::ERROR }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineOf {
        LineOf { monitors: self.clone(), level: *event.level() }
    }
}

impl io::Write for LineOf {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text: Arc<str> = String::from_utf8_lossy(line).into();
        for reader in self.monitors.readers().iter().filter(|reader| self.level <= reader.level) {
            if reader.lines.try_send(Arc::clone(&text)).is_err() {
                reader.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
