//! `lictor version`: the version of lictor, and of the Consul that it is compatible with.

#![expect(clippy::print_stdout, reason = "this is the command line's output")]

use std::process::ExitCode;

use lictor_api::CONSUL_VERSION;

use super::Verb;

/// lictor's own version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub struct VersionVerb {
    /// Output format: pretty or json
    #[arg(long, default_value = "pretty", value_parser = ["pretty", "json"])]
    format: String,
}

impl Verb for VersionVerb {
    const PATH: &'static str = "version";
    const ABOUT: &'static str = "Print the version";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.format == "json" {
            let version = serde_json::json!({
                "Version": CONSUL_VERSION,
                "Revision": concat!("lictor-", env!("CARGO_PKG_VERSION")),
                "Prerelease": "",
                "BuildDate": "1970-01-01T00:00:01Z",
                "RPC": {"Default": 2, "Min": 2, "Max": 3},
                "Lictor": VERSION,
            });
            println!("{version:#}");
        } else {
            print();
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the text form. COMPAT: Nomad and scripts read the first line as Consul's.
pub(super) fn print() {
    println!("Consul v{CONSUL_VERSION}");
    println!("Revision lictor-{VERSION}");
    println!("lictor v{VERSION}, a service mesh that speaks Consul");
    println!(
        "Protocol 2 spoken by default, understands 2 to 3 (agent will automatically use protocol >2 when speaking to compatible agents)"
    );
}
