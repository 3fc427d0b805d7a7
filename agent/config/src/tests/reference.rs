//! Generates the reference page of configuration keys from the table, and compares it.

use std::fmt::Write;

use super::{
    super::keys::{Key, Section},
    *,
};

const INTRODUCTION: &str = "# Configuration keys

<!-- Generated from the table of keys in the code; UPDATE_GOLDEN=1 in its tests writes it again. -->

Configuration files are JSON. Several files and directories are merged in order: the last value
wins, lists append, blocks merge key by key, and flags of `lictor agent` come last. Case and
underscores of keys do not matter; a key that is not on this page is an error. Durations are texts
such as `\"10s\"`, `\"1h30m\"`, or integers of nanoseconds.

The column *Change* says when a changed value takes effect:

- **live**: at a reload (SIGHUP, `lictor reload`).
- **restart**: when the agent is restarted. A reload that changes such a key is refused, names it,
  and changes nothing.
- **next start**: the key is only read while the agent starts. A reload accepts the change, which
  counts from the next start.
";

#[test]
fn the_reference_page_is_fresh() {
    expect_file("REFERENCE.md", &page());
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut written: Vec<*const Section> = Vec::new();
    topics(&mut page, Source::table());
    let rows = Source::table().rows();
    for row in &rows {
        let Some(section) = (row.key.section)() else { continue };
        if written.contains(&std::ptr::from_ref(section)) {
            continue;
        }
        written.push(section);
        let places: Vec<String> = rows
            .iter()
            .filter(|other| (other.key.section)().is_some_and(|at| std::ptr::eq(at, section)))
            .map(|other| format!("`{}`", other.dotted()))
            .collect();
        write!(page, "\n## {}\n\n{}\n", places.join(", "), prose(section.about)).unwrap();
        topics(&mut page, section);
    }
    page
}

/// Writes a section's keys: settings as a table, what has no effect as a list.
fn topics(page: &mut String, section: &Section) {
    for group in section.groups {
        if !group.title.is_empty() {
            write!(page, "\n## {}\n", group.title).unwrap();
        }
        let (ignored, settings): (Vec<&Key>, Vec<&Key>) =
            group.keys.iter().partition(|key| matches!(key.kind, Kind::Ignored { .. }));
        if !settings.is_empty() {
            page.push_str("\n| Key | Type | Default | Bounds | Change | Effect |\n");
            page.push_str("|---|---|---|---|---|---|\n");
        }
        for key in settings {
            let (name, effect) = (key.name, prose(key.effect));
            let type_name = (key.type_name)();
            match key.kind {
                Kind::Setting { default, bounds, reload } => {
                    let reload = reload.name();
                    writeln!(
                        page,
                        "| `{name}` | {type_name} | {default} | {bounds} | {reload} | {effect} |"
                    )
                }
                Kind::OlderSpelling { of } => writeln!(
                    page,
                    "| `{name}` | {type_name} | | | | {effect} Older spelling of `{of}`. |"
                ),
                Kind::Block | Kind::Ignored { .. } => {
                    writeln!(
                        page,
                        "| `{name}` | {type_name} | | | | {effect} Its keys are below. |"
                    )
                }
            }
            .unwrap();
        }
        if !ignored.is_empty() {
            page.push_str("\nAccepted without effect (* with a warning at start):\n\n");
        }
        for key in ignored {
            let star = if key.kind == (Kind::Ignored { warn_if_set: true }) { "\\*" } else { "" };
            writeln!(page, "- `{}`{star}: {}", key.name, prose(key.effect)).unwrap();
        }
    }
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
