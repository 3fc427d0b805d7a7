//! What users of Kubernetes write: annotations, the Corefile.

use lictor_operator::{
    annotations::{self, Pairs},
    corefile,
};

const NAME: &str = "connect-service";

/// Both readers of annotations see what was set, and tags are read as they are written.
pub(crate) fn annotations(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let pairs: Pairs = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let one = |prefix: &str| pairs.get(&format!("{prefix}{NAME}")).map(String::as_str);
    let set = one("lictor.dev/").or_else(|| one("consul.hashicorp.com/"));
    assert_eq!(annotations::get(&pairs, NAME), set);
    let differ = annotations::conflicts(&pairs).len();
    assert!(differ <= pairs.len() / 2);
    for (rest, value) in annotations::starting_with(&pairs, "connect-") {
        assert_eq!(annotations::get(&pairs, &format!("connect-{rest}")), Some(value));
    }
    // The sidecar reads the same pairs from the file that kubelet writes.
    let file: String =
        pairs.iter().map(|(key, value)| format!("{key}={}\n", quote(value))).collect();
    assert_eq!(lictor_sidecar::annotations::value(&file, NAME).as_deref(), set, "{file}");
    if let Some(raw) = lictor_sidecar::annotations::value(&text, NAME) {
        assert!(raw.len() <= 3 * text.len());
    }
    let tags = annotations::parse_tags(&text, "web-0");
    assert!(tags.iter().all(|tag| !tag.is_empty() && tag.trim() == tag));
    // A backslash before a comma cannot be written.
    if tags.iter().all(|tag| !tag.ends_with('\\')) {
        let written: Vec<String> = tags.iter().map(|tag| tag.replace(',', "\\,")).collect();
        assert_eq!(annotations::parse_tags(&written.join(","), "web-0"), tags);
    }
}

/// Quotes as kubelet does: Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_alphanumeric() => out.push(c),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// An edit changes the block and nothing else, once.
pub(crate) fn corefile(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let block = corefile::block("consul", "10.96.0.53");
    let with = corefile::edit(&text, Some(&block));
    assert!(with.contains(&block));
    assert_eq!(corefile::edit(&with, Some(&block)), with, "editing twice");
    let without = corefile::edit(&text, None);
    assert!(without.len() <= text.len());
    if !text.contains("# BEGIN lictor") {
        assert_eq!(without, text);
        let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        assert_eq!(corefile::edit(&with, None), format!("{text}{line}"));
    }
}
