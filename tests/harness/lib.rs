//! Starts real binaries for tests.
