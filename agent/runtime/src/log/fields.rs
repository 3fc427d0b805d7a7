//! How an event's fields are written: ` key=value`, quoted where a reader could be misled.
//!
//! INVARIANT: neither a message nor a value can hold a control character, a line separator or a
//! change of writing direction: what a client sends, such as a name, ends in the log as one value
//! of one line.

use std::{
    error::Error,
    fmt::{self, Write},
};

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Consul's line format.
pub(super) struct ComponentLines(pub(super) &'static [(&'static str, &'static str)]);

impl<S, N> FormatEvent<S, N> for ComponentLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let level = match *event.metadata().level() {
            Level::ERROR => "[ERROR]",
            Level::WARN => "[WARN] ",
            Level::INFO => "[INFO] ",
            Level::DEBUG => "[DEBUG]",
            Level::TRACE => "[TRACE]",
        };
        let mut fields = Fields::new(Quotes::WhereNeeded);
        event.record(&mut fields);
        let component = self.component(event.metadata().target());
        write!(writer, "{now} {level} {component}: {}", fields.message)?;
        if !fields.rest.is_empty() {
            write!(writer, ":{}", fields.rest)?;
        }
        writeln!(writer)
    }
}

impl ComponentLines {
    /// Returns a module's path as a component: `lictor::raft::log_store` as `agent.raft.log_store`.
    fn component(&self, target: &str) -> String {
        let named =
            self.0.iter().find_map(|(prefix, name)| Some((target.strip_prefix(prefix)?, name)));
        match named {
            Some((path, name)) => format!("{name}{}", path.replace("::", ".")),
            None => target.replace("::", "."),
        }
    }
}

/// The fields of text lines: texts are always quoted.
pub(super) struct QuotedFields;

impl<'writer> FormatFields<'writer> for QuotedFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut written = Fields::new(Quotes::EachText);
        fields.record(&mut written);
        let rest = match written.message.as_str() {
            "" => written.rest.trim_start(),
            _ => &written.rest,
        };
        write!(writer, "{}{rest}", written.message)
    }
}

/// Which values are quoted. Those with characters of [`is_misleading`] always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// Values with blanks, quotes or `=`, and empty ones.
    WhereNeeded,
    /// Texts, and nothing else.
    EachText,
}

/// The message, and the other fields as ` key=value`.
struct Fields {
    quotes: Quotes,
    message: String,
    rest: String,
}

impl Fields {
    fn new(quotes: Quotes) -> Self {
        Self { quotes, message: String::new(), rest: String::new() }
    }

    fn add(&mut self, field: &Field, value: &str, is_text: bool) {
        if field.name() == "message" {
            self.message = escaped(value);
            return;
        }
        let quoted = match self.quotes {
            Quotes::WhereNeeded => value.is_empty() || value.contains([' ', '"', '=']),
            Quotes::EachText => is_text,
        };
        let written = if quoted || value.contains(is_misleading) {
            write!(self.rest, " {field}={value:?}")
        } else {
            write!(self.rest, " {field}={value}")
        };
        written.expect("writing to a String cannot fail");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"), false);
    }

    /// With its causes, because an error's own text does not name them.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, &lictor_api::error::chain(value), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value, true);
    }
}

/// Whether a character could end a line, drive a terminal, or reorder what stands around it.
fn is_misleading(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns a message with its misleading characters escaped.
fn escaped(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for letter in message.chars() {
        if is_misleading(letter) {
            text.extend(letter.escape_debug());
        } else {
            text.push(letter);
        }
    }
    text
}
