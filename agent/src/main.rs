//! The `lictor` binary: a thin start of [`lictor::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lictor_runtime::panic_hook::install();
    let args: Vec<String> = std::env::args().collect();
    lictor::cli::main(&args)
}
