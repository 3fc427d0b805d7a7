use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use tracing::{Dispatch, dispatcher::with_default};

use super::*;
use crate::capture::Lines;

const LONG: Duration = Duration::from_secs(30);

/// Returns what `event` writes in this form, without the time.
fn written(format: Format, event: impl FnOnce()) -> String {
    let lines = Lines::default();
    let copy = lines.clone();
    let layer = layer(format, move || copy.clone());
    with_default(&Dispatch::new(tracing_subscriber::registry().with(layer)), event);
    let text = lines.text();
    let (time, rest) = text.split_once('Z').unwrap();
    assert!(time.starts_with("20") || time.starts_with("{\"timestamp\":\"20"), "{text}");
    rest.to_owned()
}

const AGENT: Format = Format::Component(&[("lictor::", "agent.")]);

#[derive(Debug, thiserror::Error)]
#[error("asking")]
struct Asking(#[source] io::Error);

#[test]
fn component_lines_are_consuls() {
    let plain = || tracing::info!(target: "lictor::raft::log_store", index = 7, "opened");
    assert_eq!(written(AGENT, plain), " [INFO]  agent.raft.log_store: opened: index=7\n");
    let bare = || tracing::warn!(target: "agent", "nothing else");
    assert_eq!(written(AGENT, bare), " [WARN]  agent: nothing else\n");
    let other =
        || tracing::error!(target: "lictor_sidecar::access", a = "", b = "c d", e = "f=\"g\"", "x");
    let line = " [ERROR] lictor_sidecar.access: x: a=\"\" b=\"c d\" e=\"f=\\\"g\\\"\"\n";
    assert_eq!(written(AGENT, other), line);
}

#[test]
fn an_error_is_logged_with_its_causes_each_once() {
    let error = Asking(io::Error::other("refused"));
    let event = || tracing::warn!(target: "agent", error = &error as &dyn std::error::Error, tries = 2, "not yet");
    let line = " [WARN]  agent: not yet: error=\"asking: refused\" tries=2\n";
    assert_eq!(written(AGENT, event), line);
}

#[test]
fn text_lines_quote_texts() {
    let event = || tracing::info!(target: "operator", name = "web", port = 80, "ready");
    assert_eq!(written(Format::Text, event), "  INFO operator: ready name=\"web\" port=80\n");
    let event = || tracing::info!(target: "operator", port = 80);
    assert_eq!(written(Format::Text, event), "  INFO operator: port=80\n");
}

#[test]
fn json_lines_have_their_fields_flat_or_apart() {
    let event = || tracing::info!(target: "agent", name = "web", "ready");
    let flat =
        "\",\"level\":\"INFO\",\"message\":\"ready\",\"name\":\"web\",\"target\":\"agent\"}\n";
    assert_eq!(written(Format::FlatJson, event), flat);
    let apart = "\",\"level\":\"INFO\",\"fields\":{\"message\":\"ready\",\"name\":\"web\"},\"target\":\"agent\"}\n";
    assert_eq!(written(Format::Json, event), apart);
}

#[test]
fn no_value_can_forge_a_line_or_drive_a_terminal() {
    let forged = "web\n2026-01-02T15:04:05.000Z [INFO]  agent: forged\r\u{1b}[2J\0\u{7f}\u{9b}\u{2028}\u{202e}";
    for format in [AGENT, Format::Text, Format::FlatJson, Format::Json] {
        let written = written(format, || {
            tracing::info!(name = forged, shown = %forged, debug = ?forged, "{forged}");
        });
        assert_eq!(written.matches('\n').count(), 1, "{format:?}: {written:?}");
        let line = written.trim_end_matches('\n');
        assert!(!line.contains(|letter: char| letter.is_ascii_control() && letter != '\u{7f}'));
        if matches!(format, AGENT | Format::Text) {
            assert!(!line.contains(['\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}']), "{line:?}");
        }
    }
    let event = || tracing::info!(target: "agent", name = "a\nb\u{1b}", "c\nd");
    assert_eq!(written(AGENT, event), " [INFO]  agent: c\\nd: name=\"a\\nb\\u{1b}\"\n");
}

/// Passes on what is written, once each write is allowed.
struct Gate(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.recv().is_err() {
            // Never allowed again: as a reader that is stuck for ever.
            loop {
                std::thread::park();
            }
        }
        self.1.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_blocks_for_ever_stops_nobody() {
    let (allow, allowed) = mpsc::channel();
    let (sink, _written) = mpsc::channel();
    drop(allow);
    let mut writer = LineWriter::start(Gate(allowed, sink), |_| {}).unwrap();
    let line = [b'x'; 1024];
    for _ in 0..4096 {
        writer.write_all(&line).unwrap();
    }
    // One queue waits, one at most is being written.
    assert!(writer.dropped_lines() >= 2048, "{}", writer.dropped_lines());
    assert!(writer.dropped_lines() < 4096);
    assert!(!writer.flush(Duration::from_millis(10)));
}

#[test]
fn dropped_lines_are_reported_once_lines_can_be_written_again() {
    let (allow, allowed) = mpsc::channel();
    let (sink, written) = mpsc::channel();
    let (report, reported) = mpsc::channel();
    let reporting = move |lines| report.send(lines).unwrap();
    let mut writer = LineWriter::start(Gate(allowed, sink), reporting).unwrap();
    let line = [b'x'; 1024];
    for _ in 0..4096 {
        writer.write_all(&line).unwrap();
    }
    let dropped = writer.dropped_lines();
    for _ in 0..8 {
        allow.send(()).unwrap();
    }
    assert!(writer.flush(LONG));
    assert_eq!(reported.try_iter().sum::<u64>(), dropped);
    writer.write_all(b"afterwards\n").unwrap();
    assert!(writer.flush(LONG));
    assert_eq!(writer.dropped_lines(), dropped);
    let bytes: Vec<u8> = written.try_iter().flatten().collect();
    assert_eq!(bytes.len() as u64, (4096 - dropped) * 1024 + 11, "whole lines, and all others");
    assert!(bytes.ends_with(b"afterwards\n"));
}

#[test]
fn a_flush_waits_for_what_was_logged() {
    let lines = Lines::default();
    let mut writer = LineWriter::start(lines.clone(), |_| {}).unwrap();
    for _ in 0..100 {
        writer.write_all(b"line\n").unwrap();
    }
    assert!(writer.flush(LONG));
    assert_eq!(lines.text(), "line\n".repeat(100));
}

#[test]
fn lines_lost_to_a_failed_write_are_counted_and_reported_after_the_next_one() {
    struct Closed(Arc<AtomicBool>);
    impl Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let is_closed = Arc::new(AtomicBool::new(true));
    let (report, reported) = mpsc::channel();
    let reporting = move |lines| report.send(lines).unwrap();
    let mut writer = LineWriter::start(Closed(is_closed.clone()), reporting).unwrap();
    let before = DROPPED_LINES.total();
    for _ in 0..3 {
        writer.write_all(b"line\n").unwrap();
    }
    assert!(writer.flush(LONG));
    assert_eq!(writer.dropped_lines(), 3);
    // Other tests' logs count there too.
    assert!(DROPPED_LINES.total() >= before + 3);
    assert!(reported.try_recv().is_err());
    is_closed.store(false, Ordering::Relaxed);
    writer.write_all(b"line\n").unwrap();
    assert!(writer.flush(LONG));
    assert_eq!((reported.try_recv(), writer.dropped_lines()), (Ok(3), 3));
}

/// Returns a log that is not the process's.
fn log(filter: &str) -> (Lines, Dispatch, LogHandle) {
    let lines = Lines::default();
    let writer = LineWriter::start(lines.clone(), report_dropped).unwrap();
    let (subscriber, log) = assemble(EnvFilter::new(filter), AGENT, writer);
    (lines, Dispatch::new(subscriber), log)
}

/// Returns the messages of lines.
fn messages(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.rsplit_once(": ")).map(|(_, message)| message).collect()
}

#[test]
fn the_level_can_be_changed_while_the_process_runs() {
    let (lines, subscriber, log) = log("warn");
    with_default(&subscriber, || {
        tracing::info!("before");
        log.set_level("info").unwrap();
        tracing::info!("after");
        let refused = log.set_level("no[level");
        assert!(matches!(refused, Err(SetLevelError::Filter { .. })));
        tracing::info!("still");
    });
    assert!(log.flush(LONG));
    assert_eq!(messages(&lines.text()), ["after", "still"]);
}

#[test]
fn the_end_of_the_last_handle_waits_for_the_lines() {
    let (lines, subscriber, log) = log("info");
    with_default(&subscriber, || tracing::info!("last words"));
    drop(log);
    assert_eq!(messages(&lines.text()), ["last words"]);
}

/// Counts how often it is formatted.
#[derive(Default)]
struct Counted(std::cell::Cell<u32>);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.set(self.0.get() + 1);
        f.write_str("formatted")
    }
}

#[test]
fn a_reader_has_a_level_of_its_own_and_costs_nothing_when_it_is_gone() {
    let formatted = Counted::default();
    let (lines, subscriber, log) = log("warn");
    let read = |copy: &mut LogLines| {
        let text: String =
            std::iter::from_fn(|| futures_util::FutureExt::now_or_never(copy.next())?)
                .map(|line| line.to_string())
                .collect();
        messages(&text).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    with_default(&subscriber, || {
        tracing::debug!(value = ?formatted, "unread");
        let mut debug = log.subscribe(Level::DEBUG, "debug").unwrap();
        let mut info = log.subscribe(Level::INFO, "info").unwrap();
        tracing::debug!("detail");
        tracing::info!("change");
        tracing::error!("failure");
        assert_eq!(read(&mut debug), ["detail", "change", "failure"]);
        assert_eq!(read(&mut info), ["change", "failure"]);
        drop(debug);
        tracing::debug!(value = ?formatted, "unread");
        assert_eq!(formatted.0.get(), 0);
        tracing::info!(value = ?formatted, "read");
        assert_eq!(formatted.0.get(), 1);
        drop(info);
        tracing::info!(value = ?formatted, "unread");
        assert_eq!(formatted.0.get(), 1);
        assert!(log.subscribe(Level::INFO, "no[level").is_err());
    });
    assert!(log.flush(LONG));
    assert_eq!(messages(&lines.text()), ["failure"]);
}

#[test]
fn a_reader_that_does_not_keep_up_loses_lines_and_is_told() {
    let (_, subscriber, log) = log("off");
    with_default(&subscriber, || {
        let copy = log.subscribe(Level::INFO, "info").unwrap();
        for line in 0..1000 {
            tracing::info!(line, "many");
        }
        assert_eq!(copy.take_dropped(), 1000 - 512);
        assert_eq!(copy.take_dropped(), 0);
    });
}

/// The one test that starts the process's own log.
#[test]
fn a_log_is_started_once() {
    let unknown = start("no[level", AGENT, Output::Stderr);
    assert!(matches!(unknown, Err(StartError::Filter { .. })));
    let log = start("off", AGENT, Output::Stderr).unwrap();
    let again = start("off", AGENT, Output::Stderr);
    assert!(matches!(again, Err(StartError::AlreadyStarted(_))));
    assert!(log.flush(LONG));
}
