//! The JSON shapes of the HTTP API, one file per resource.
//!
//! Names and order follow Consul's answers, because clients and scripts read them. Input is
//! decoded through [`crate::wire`], which accepts Go's case-insensitive keys and snake_case
//! aliases, so the structs name each field once.

pub mod agent;
pub mod catalog;
pub mod config_entry;
pub mod connect;
pub mod coordinate;
pub mod event;
pub mod health;
pub mod intention;
pub mod kv;
pub mod operator;
pub mod session;
pub mod txn;

/// True for a value that Go's `omitempty` leaves out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
