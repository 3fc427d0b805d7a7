//! What consensus counts. The agent's table of metrics names it.

use lictor_runtime::metrics::{Counter, Sample};

/// Commands that this server proposed as the leader and that were committed.
pub static PROPOSALS: Counter = Counter::new();
/// How long such a command took until it was committed and applied here.
pub static COMMIT_TIMES: Sample = Sample::new();
/// How long a committed command took to change the state.
pub static APPLY_TIMES: Sample = Sample::new();
/// How long a batch of entries took to be durable in this server's log.
pub static LOG_WRITE_TIMES: Sample = Sample::new();
/// How long a snapshot took to be encoded and durable.
pub static SNAPSHOT_TIMES: Sample = Sample::new();
