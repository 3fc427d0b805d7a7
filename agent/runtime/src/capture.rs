//! Log lines as a test sees them.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::Value;
use tracing::Subscriber;

/// What was written to the log.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Returns a subscriber that writes JSON here.
    pub(crate) fn json(&self) -> impl Subscriber + Send + Sync {
        let writer = self.clone();
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Makes writers wait until the guard is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }

    /// Returns the events with this message.
    pub(crate) fn events(&self, message: &str) -> Vec<Value> {
        let events = self.text();
        let events = events.lines().map(|line| serde_json::from_str(line).unwrap());
        events.filter(|event: &Value| event["message"] == message).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
