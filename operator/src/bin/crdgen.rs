//! Prints the custom resource definitions that the chart carries.

#![forbid(unsafe_code)]

use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let text = lictor_operator::crds::rendered()?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
