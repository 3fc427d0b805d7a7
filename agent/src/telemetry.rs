//! What the process says about itself: log lines now, metrics with the endpoints that show them.

pub mod log;
