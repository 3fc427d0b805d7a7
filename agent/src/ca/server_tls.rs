//! TLS of the agent's own listeners.
