//! Writes panics to the log, in the form the process logs in, instead of raw text to stderr.
//!
//! INVARIANT: reporting a panic cannot hang or abort the process. A panic may happen inside
//! tracing itself, which then may hold locks and must not be entered again by the same thread, and
//! a panic inside a panic hook aborts. So the event is written by a thread of its own, for which
//! the panicking one waits a bounded time. If that fails, or the thread has no subscriber, the
//! hook that was installed before writes to stderr.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::Cell,
    panic::{PanicHookInfo, set_hook, take_hook},
    sync::{Once, mpsc},
    thread,
    time::Duration,
};

use tracing::{
    Dispatch,
    dispatcher::{get_default, with_default},
    subscriber::NoSubscriber,
};

use crate::panics::message;

/// How long a panicking thread waits until its panic is logged.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread is one that writes about a panic.
    static REPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook for this process. A second call changes nothing.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if !log(info) {
                previous(info);
            }
        }));
    });
}

/// What the log says about a panic.
struct Report {
    panic: String,
    location: String,
    thread: String,
    backtrace: Option<Backtrace>,
}

/// Returns whether the panic was logged.
fn log(info: &PanicHookInfo<'_>) -> bool {
    let subscriber = get_default(Dispatch::clone);
    if REPORTING.get() || subscriber.is::<NoSubscriber>() {
        return false;
    }
    let backtrace = Backtrace::capture();
    let report = Report {
        panic: message(info.payload()),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        thread: thread::current().name().unwrap_or("unnamed").to_owned(),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace),
    };
    report.deliver(subscriber)
}

impl Report {
    /// Writes from a thread of its own, and returns whether that was done in time.
    fn deliver(self, subscriber: Dispatch) -> bool {
        let (written, done) = mpsc::sync_channel(1);
        let reporter = thread::Builder::new().name("panic-report".to_owned()).spawn(move || {
            REPORTING.set(true);
            with_default(&subscriber, || self.write());
            // Fails when the panicking thread has waited long enough and wrote to stderr.
            written.send(())
        });
        reporter.is_ok() && done.recv_timeout(REPORT_TIMEOUT).is_ok()
    }

    fn write(&self) {
        tracing::error!(
            panic = self.panic,
            location = self.location,
            thread = self.thread,
            backtrace = self.backtrace.as_ref().map(tracing::field::display),
            "thread panicked"
        );
    }
}

#[cfg(test)]
mod tests;
