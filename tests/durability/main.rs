//! What survives: acknowledged writes over kill -9, and the mesh while its server is away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod kill;
mod server_gone;
