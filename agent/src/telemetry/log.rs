//! Log lines in Consul's form, or as JSON:
//! `2026-01-02T15:04:05.000Z [INFO]  agent.server: message: key=value`.
//!
//! Lines go to stdout unbuffered and without colors, because scripts and tutorials grep them. A
//! value with blanks is quoted. The level can be changed while the agent runs.

use std::{
    error::Error,
    fmt::{self, Write},
};

use jiff::Timestamp;
use lictor_config::runtime::Log;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

/// Changes the level of a running agent.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Puts a new level in force.
    ///
    /// # Errors
    /// The subscriber is gone, which only happens at the process's end.
    pub fn set(&self, level: &str) -> Result<(), reload::Error> {
        self.0.reload(filter(level))
    }
}

/// Starts logging for this process. Called once, before the agent starts; a second call (an agent
/// inside a test) keeps the first one's settings.
pub fn init(log: &Log) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(filter(&log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if log.json {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stdout);
        registry.with(layer).try_init()
    } else {
        let layer =
            tracing_subscriber::fmt::layer().event_format(ConsulLines).with_writer(std::io::stdout);
        registry.with(layer).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
    LevelHandle(handle)
}

/// Our own lines at `level`, the libraries' only from warnings up.
fn filter(level: &str) -> EnvFilter {
    let libraries = if level == "error" { "error" } else { "warn" };
    // A target stands for those that begin with it, too: "lictor" for each of our crates.
    let ours = ["lictor", "agent", "connect"];
    let directives: String = ours.iter().map(|target| format!(",{target}={level}")).collect();
    // openraft and the gossip engine report what their wrappers say once, many times over.
    let engines = if matches!(level, "debug" | "trace") { "warn" } else { "off" };
    EnvFilter::new(format!(
        "{libraries},openraft=off,tower=off,serf_core={engines},memberlist_core={engines},memberlist_net={engines}{directives}"
    ))
}

/// Consul's line format.
struct ConsulLines;

impl<S, N> FormatEvent<S, N> for ConsulLines
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
        let mut fields = Fields::default();
        event.record(&mut fields);
        write!(
            writer,
            "{now} {level} {}: {}",
            component(event.metadata().target()),
            fields.message
        )?;
        if !fields.rest.is_empty() {
            write!(writer, ":{}", fields.rest)?;
        }
        writeln!(writer)
    }
}

/// Where the crates' lines stand in Consul's log. A crate behind its own name keeps the name that its
/// lines have always had.
const COMPONENTS: [(&str, &str); 9] = [
    ("lictor::", "agent."),
    ("lictor_config", "agent.config"),
    ("lictor_consensus", "agent.raft"),
    ("lictor_core", "agent"),
    ("lictor_membership", "agent.gossip"),
    ("lictor_runtime", "agent.runtime"),
    ("lictor_transport::servers", "agent.servers"),
    ("lictor_transport::tls", "agent.tls"),
    ("lictor_transport", "agent.rpc"),
];

/// Returns the name of a target in Consul's log: `lictor_consensus::log_store` is
/// `agent.raft.log_store`; Consul's own names stay.
fn component(target: &str) -> String {
    let ours = COMPONENTS.iter().find_map(|(crate_name, component)| {
        target.strip_prefix(crate_name).map(|path| format!("{component}{path}"))
    });
    ours.unwrap_or_else(|| target.to_owned()).replace("::", ".")
}

/// The message, and the other fields as ` key=value`.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        let quoted = value.is_empty() || value.contains([' ', '"', '\n', '=']);
        let written = if quoted {
            write!(self.rest, " {name}={value:?}")
        } else {
            write!(self.rest, " {name}={value}")
        };
        written.expect("writing to a String cannot fail");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field.name(), &format!("{value:?}"));
        }
    }

    /// With its causes: an error's own text does not say them.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.ends_with(&words) {
                text = format!("{text}: {words}");
            }
            cause = error.source();
        }
        self.add(field.name(), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field.name(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_every_crate_stand_under_consuls_names() {
        assert_eq!(component("lictor::ca::leaf"), "agent.ca.leaf");
        assert_eq!(component("lictor_consensus::log_store"), "agent.raft.log_store");
        assert_eq!(component("lictor_membership"), "agent.gossip");
        assert_eq!(component("lictor_transport::tls::role"), "agent.tls.role");
        assert_eq!(component("lictor_transport::connections"), "agent.rpc.connections");
        assert_eq!(component("agent.serf"), "agent.serf");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("asking")]
    struct Asking(#[source] io::Error);

    #[test]
    fn an_error_is_logged_with_its_causes_each_once() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(ConsulLines)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let error = Asking(io::Error::other("refused"));
            tracing::warn!(error = &error as &dyn Error, tries = 2, "not yet");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(written.ends_with("not yet: error=\"asking: refused\" tries=2\n"), "{written}");
    }
}
