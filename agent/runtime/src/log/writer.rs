//! Writes lines from a thread of its own, so that an output that blocks (a full pipe, a paused
//! terminal) blocks that thread and nothing else.
//!
//! INVARIANT: a caller never waits for output. At most [`MAX_QUEUED_BYTES`] are queued; lines
//! beyond are dropped whole. INVARIANT: a line that is not written, because the queue was full or
//! the output failed, is counted, and reported after the next write that succeeds.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes of lines that are queued, beside those that are being written: some thousand lines.
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// Queues lines for the thread that writes. Clones share one thread, which lives as long as the
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
    /// How many lines that is.
    count: u64,
    is_writing: bool,
    /// Lines dropped because the queue was full, since the thread last took the queue.
    dropped: u64,
    /// Lines that were not written, in all.
    dropped_total: u64,
}

/// What the thread takes from the queue at once.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    count: u64,
    /// Lines that were dropped after them.
    dropped: u64,
}

impl LineWriter {
    /// Starts the thread, which calls `report` with the number of lines that were dropped; what
    /// that logs is written next.
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
        // It lives as long as the process, whose end waits for a flush and not for a join.
        drop(thread.spawn(move || shared.write_to(output, report))?);
        Ok(writer)
    }

    /// Returns how many lines were not written, in all.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.queue().dropped_total
    }

    /// Waits until the queue is empty and nothing is being written; `false` if that took more than
    /// `limit`.
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
    /// Queues one line, or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.queue();
        if queue.lines.len() + line.len() > MAX_QUEUED_BYTES {
            queue.dropped += 1;
            queue.count_dropped(1);
        } else {
            queue.lines.extend_from_slice(line);
            queue.count += 1;
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

impl Queue {
    fn count_dropped(&mut self, lines: u64) {
        self.dropped_total += lines;
        super::DROPPED_LINES.add(lines);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write, report: impl Fn(u64)) {
        let (mut batch, mut unreported) = (Batch::default(), 0);
        loop {
            self.next(&mut batch);
            unreported += batch.dropped;
            if output.write_all(&batch.lines).and_then(|()| output.flush()).is_err() {
                // Some may have been written; which ones, the error does not say.
                unreported += batch.count;
                self.queue().count_dropped(batch.count);
            } else if unreported > 0 {
                // Not after a failure: the report would fail too, and be reported, without end.
                report(std::mem::take(&mut unreported));
            }
        }
    }

    /// Waits until there is something to write or to report, and moves it into `batch`, whose lines
    /// are written.
    fn next(&self, batch: &mut Batch) {
        batch.lines.clear();
        // A burst's memory is given back.
        batch.lines.shrink_to(MAX_QUEUED_BYTES / 16);
        let mut queue = self.queue();
        queue.is_writing = false;
        while queue.lines.is_empty() && queue.dropped == 0 {
            self.idle.notify_all();
            queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.is_writing = true;
        std::mem::swap(&mut queue.lines, &mut batch.lines);
        batch.count = std::mem::take(&mut queue.count);
        batch.dropped = std::mem::take(&mut queue.dropped);
    }
}
