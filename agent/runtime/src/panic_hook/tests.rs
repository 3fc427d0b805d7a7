use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tracing::subscriber::with_default;

use super::*;
use crate::capture::Lines;

#[test]
fn a_panic_is_an_event_in_the_log() {
    install();
    let lines = Lines::default();
    with_default(lines.json(), || {
        catch_unwind(|| panic!("no \"quorum\"\nleft")).unwrap_err();
    });
    let events = lines.events("thread panicked");
    assert_eq!(events.len(), 1, "{}", lines.text());
    assert_eq!(events[0]["level"], "ERROR");
    assert_eq!(events[0]["panic"], "no \"quorum\"\nleft");
    assert!(events[0]["location"].as_str().unwrap().contains("panic_hook/tests.rs:"));
    assert!(events[0]["thread"].as_str().unwrap().contains("a_panic_is_an_event"));
}

struct Faulty;

impl fmt::Debug for Faulty {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("cannot be printed")
    }
}

#[test]
fn a_panic_while_an_event_is_written_does_not_end_the_log() {
    install();
    let lines = Lines::default();
    with_default(lines.json(), || {
        let event = || tracing::info!(value = ?Faulty, "something");
        catch_unwind(AssertUnwindSafe(event)).unwrap_err();
        tracing::info!("afterwards");
    });
    assert!(lines.text().contains("afterwards"), "{}", lines.text());
}

/// Panics, always, as a broken subscriber might.
#[derive(Clone)]
struct Broken;

impl std::io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        panic!("the log is broken")
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_survived_when_writing_about_it_panics() {
    install();
    let subscriber = tracing_subscriber::fmt().with_writer(|| Broken).finish();
    with_default(subscriber, || {
        catch_unwind(|| panic!("first")).unwrap_err();
    });
}

#[test]
fn a_panic_under_a_lock_of_the_log_does_not_hang() {
    let lines = Lines::default();
    let report = Report {
        panic: "planted".to_owned(),
        location: String::new(),
        thread: String::new(),
        backtrace: None,
    };
    let held = lines.hold();
    assert!(!report.deliver(Dispatch::new(lines.json())));
    drop(held);
}
