//! What holds of the tree itself: floors, walls, dependencies, tasks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod floors;
mod imports;
mod members;
mod tasks;

use std::path::Path;

/// Returns the workspace's directory.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the member lies in the workspace")
}
