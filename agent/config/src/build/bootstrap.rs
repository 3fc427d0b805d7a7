//! Builds `bootstrap_expect` and `bootstrap`: which servers may bootstrap a cluster (Consul
//! "Bootstrapping a datacenter").

use super::{ConfigError, source::Source};

/// Returns how many servers must have joined before the first election; 0 bootstraps no cluster.
pub(super) fn expect(
    source: &Source,
    server: bool,
    dev: bool,
    warnings: &mut Vec<String>,
) -> Result<u32, ConfigError> {
    let conflict = |text: &str| Err(ConfigError::Conflict(text.to_owned()));
    let bootstrap = source.bootstrap.unwrap_or(false);
    let given = source.bootstrap_expect.unwrap_or(0);
    let expect = u32::try_from(given).map_err(|_| {
        ConfigError::Conflict(format!(
            "bootstrap_expect cannot be {given}. Must be greater than or equal to zero"
        ))
    })?;
    if !server {
        return match (bootstrap, expect) {
            (true, _) => conflict("'bootstrap = true' requires 'server = true'"),
            (_, 1..) => conflict("'bootstrap_expect > 0' requires 'server = true'"),
            _ => Ok(0),
        };
    }
    if bootstrap && expect > 0 {
        return conflict("'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive");
    }
    if dev && expect > 1 {
        return conflict("'bootstrap_expect > 0' not allowed in dev mode");
    }
    if dev || bootstrap {
        return Ok(1);
    }
    warn(source, expect, warnings);
    Ok(expect)
}

fn warn(source: &Source, expect: u32, warnings: &mut Vec<String>) {
    match expect {
        0 if source.retry_join.is_empty() && source.start_join.is_empty() => warnings.push(
            "neither bootstrap_expect nor retry_join is set: this server waits until it is joined \
             to a cluster; start a first server with -bootstrap-expect 1"
                .to_owned(),
        ),
        2 => warnings.push(
            "bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance."
                .to_owned(),
        ),
        3.. if expect.is_multiple_of(2) => warnings.push(format!(
            "bootstrap_expect = {expect} is even number: A cluster with an even number of servers \
             does not achieve optimum fault tolerance."
        )),
        _ => {}
    }
}
