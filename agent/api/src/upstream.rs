//! Placeholder for the upstream grammar.
