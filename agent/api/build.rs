//! Compiles the .proto files with protox, so that no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files =
        protox::compile(["lictor/mesh/v1/mesh.proto", "lictor/server/v1/server.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".lictor.server.v1").compile_fds(files)?;
    Ok(())
}
