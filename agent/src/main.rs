//! The `lictor` binary: a thin start of [`lictor::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    lictor::cli::main(std::env::args().collect()).await
}
