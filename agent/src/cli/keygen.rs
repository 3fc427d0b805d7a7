//! `lictor keygen`: a key for gossip.

use std::process::ExitCode;

use anyhow::Context;
use lictor_config::runtime::GossipKey;

use super::{Verb, output};

/// `keygen` has no flags.
#[derive(Debug, clap::Args)]
pub struct KeygenVerb {}

impl Verb for KeygenVerb {
    const PATH: &'static str = "keygen";
    const ABOUT: &'static str = "Make a gossip encryption key";
    const DETAILS: &'static str = "\
Prints 32 random bytes in base64, for -encrypt and for 'lictor keyring -install'.";

    async fn run(self) -> anyhow::Result<ExitCode> {
        output::line(make()?.expose_base64());
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes a key of 32 random bytes.
pub(super) fn make() -> anyhow::Result<GossipKey> {
    let mut bytes = vec![0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no randomness")?;
    Ok(GossipKey::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_32_bytes_and_differ() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_eq!(GossipKey::from_base64(&one.expose_base64()).unwrap(), one);
        assert!(one.expose().len() == 32 && one != other);
    }
}
