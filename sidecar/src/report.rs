//! One way to print an error with its causes: `a: b: c`.

use std::error::Error;

/// The text of `error` and of its sources, joined by `: `.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut said = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Engines often repeat their source in their own text; saying it once is enough.
        if !said.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        said = next;
        cause = error.source();
    }
    text
}
