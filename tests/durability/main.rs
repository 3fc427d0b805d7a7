//! What survives: acknowledged writes over kill -9, and the mesh while its server is away.

mod kill;
mod server_gone;
