//! Faults between and in machines; each proves that it happened.
//!
//! INVARIANT: a function of this module returns `Ok` with what was measured only when the fault was
//! seen to work; `Err` says what was seen instead. Whoever injects it counts only the former.

pub mod clock;
pub mod cpu;
pub mod disk;
pub mod net;
pub mod process;

/// What a fault's measurement showed, for the log.
pub type Proof = Result<String, String>;

/// A proof from a measurement.
fn proof(happened: bool, measured: String) -> Proof {
    if happened { Ok(measured) } else { Err(measured) }
}
