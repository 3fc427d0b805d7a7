//! The binaries under test: those of the profile that the tests themselves were built with, or
//! those in the directory that `LICTOR_BIN_DIR` names.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Path of `lictor`, `lictor-sidecar` or `lictor-operator`, built if it is missing or old.
///
/// # Panics
/// When the build fails.
pub fn binary(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(build).join(name)
}

/// Builds all binaries once per test process; cargo finds out that there is nothing to do.
fn build() -> PathBuf {
    if let Some(dir) = std::env::var_os("LICTOR_BIN_DIR") {
        return dir.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let dir = test.ancestors().nth(2).expect("target/TRIPLE/PROFILE/deps/test").to_owned();
    let target = dir.ancestors().nth(2).expect("target/TRIPLE/PROFILE");
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("no profile in {}", dir.display()),
    };
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the member lies in the workspace");
    let status = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["build", "--quiet", "--profile", profile, "-p", "lictor", "-p", "lictor-sidecar"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root)
        .status()
        .expect("cargo is there, it runs the tests");
    assert!(status.success(), "building the binaries under test failed");
    dir
}
