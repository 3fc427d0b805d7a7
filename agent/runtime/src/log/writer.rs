//! Writes lines from a thread of its own, so that a reader that stopped reading (a full pipe, a
//! paused terminal) stops that thread and nothing else.
//!
//! INVARIANT: a caller never waits for output. At most [`MAX_QUEUED_BYTES`] wait to be written;
//! lines beyond are dropped whole, counted, and reported once lines can be written again.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines wait, beside those that are being written: some thousand lines.
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// The way to the thread that writes. Clones lead to the same one, which lives as long as the
/// process.
#[derive(Clone, Default)]
pub(super) struct LineWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Lines were added.
    added: Condvar,
    /// Everything is written.
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    is_writing: bool,
    /// Lines dropped since the last report, and in all.
    dropped: u64,
    dropped_total: u64,
}

impl LineWriter {
    /// Starts the thread. `report` is called from it with the number of lines that were dropped;
    /// what it logs is written next.
    ///
    /// # Errors
    /// The system refused another thread.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let writer = Self::default();
        let shared = Arc::clone(&writer.0);
        let thread = thread::Builder::new().name("log".to_owned());
        // Lives as long as the process: a flush, not a join, is what its end waits for.
        drop(thread.spawn(move || shared.write_to(output, report))?);
        Ok(writer)
    }

    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.queue().dropped_total
    }

    /// Waits until everything is written; `false` when that took more than `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut queue = self.0.queue();
        while queue.is_writing || !queue.lines.is_empty() || queue.dropped > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.idle.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Write for LineWriter {
    /// Takes one line, or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.queue();
        if queue.lines.len() + line.len() > MAX_QUEUED_BYTES {
            queue.dropped += 1;
            queue.dropped_total += 1;
            super::DROPPED_LINES.increment();
        } else {
            queue.lines.extend_from_slice(line);
            self.0.added.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write, report: impl Fn(u64)) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.next(&mut lines);
            // A closed output takes nothing, and there is nowhere else to say so.
            drop(output.write_all(&lines).and_then(|()| output.flush()));
            lines.clear();
            // A burst's memory is given back.
            lines.shrink_to(MAX_QUEUED_BYTES / 16);
            if dropped > 0 {
                report(dropped);
            }
        }
    }

    /// Waits for lines and exchanges them for the empty `lines`. Returns how many were dropped
    /// after them.
    fn next(&self, lines: &mut Vec<u8>) -> u64 {
        let mut queue = self.queue();
        queue.is_writing = false;
        while queue.lines.is_empty() && queue.dropped == 0 {
            self.idle.notify_all();
            queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.is_writing = true;
        std::mem::swap(&mut queue.lines, lines);
        std::mem::take(&mut queue.dropped)
    }
}
