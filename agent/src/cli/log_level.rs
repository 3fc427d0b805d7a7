//! The `-log-level` of verbs that log until they are stopped.

/// A level other than the five.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid log level: {0}. Valid log levels are: [TRACE DEBUG INFO WARN ERROR]")]
pub(super) struct InvalidLogLevel(String);

/// Returns the level's name as the log knows it, from any case and from Consul's older `ERR`.
///
/// # Errors
/// [`InvalidLogLevel`], in Consul's words.
pub(super) fn parse(written: &str) -> Result<String, InvalidLogLevel> {
    let level = match written.to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warn" => "warn",
        "err" | "error" => "error",
        _ => return Err(InvalidLogLevel(written.to_owned())),
    };
    Ok(level.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_taken_in_any_case_and_others_refused_in_consuls_words() {
        for (written, level) in [("trace", "trace"), ("INFO", "info"), ("Err", "error")] {
            assert_eq!(parse(written).as_deref(), Ok(level));
        }
        assert_eq!(
            parse("bogus").unwrap_err().to_string(),
            "Invalid log level: bogus. Valid log levels are: [TRACE DEBUG INFO WARN ERROR]"
        );
    }
}
