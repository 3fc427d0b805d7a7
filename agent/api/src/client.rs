//! Placeholder for the HTTP client.
