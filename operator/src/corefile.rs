//! Edits the managed block in CoreDNS's Corefile, which forwards the mesh's domain to the servers.
//!
//! Pure. The block is between two marker lines, added at the end of the file; everything else is
//! preserved byte for byte. CoreDNS's `reload` plugin applies the change. CoreDNS forwards to
//! addresses only, so the block has the Service's cluster address. The cache is one second, because
//! answers must follow a pod's readiness.

const BEGIN: &str = "# BEGIN lictor (managed by lictor-operator, do not edit)\n";
const END: &str = "# END lictor\n";

/// Returns the block for `domain`, forwarded to `address`.
pub fn block(domain: &str, address: &str) -> String {
    let domain = domain.trim_end_matches('.');
    format!("{domain}:53 {{\n    errors\n    cache 1\n    forward . {address}\n}}\n")
}

/// Returns the Corefile with `block` as its managed block, or without one.
pub fn edit(corefile: &str, block: Option<&str>) -> String {
    let (before, after) = split(corefile);
    let Some(block) = block else { return format!("{before}{after}") };
    let newline = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{newline}{BEGIN}{block}{END}{after}")
}

/// Returns the text before and after the managed block. A block whose end marker is missing ends at
/// its closing brace line, so that a damaged one never includes the text after it.
fn split(corefile: &str) -> (&str, &str) {
    // A begin marker without its newline would become one when an edit adds the newline.
    let Some(start) = corefile.find(BEGIN) else { return (unmarked(corefile), "") };
    let body = &corefile[start + BEGIN.len()..];
    let end = match (body.find(END), body.find("\n}\n")) {
        (Some(end), _) => end + END.len(),
        (None, Some(brace)) => brace + "\n}\n".len(),
        (None, None) => body.len(),
    };
    (unmarked(&corefile[..start]), &body[end..])
}

/// Returns `before` without markers at its end that lack their newline.
fn unmarked(before: &str) -> &str {
    before.trim_end_matches(BEGIN.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COREFILE: &str = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n    reload\n}\n";

    #[test]
    fn the_block_is_added_updated_and_removed() {
        let first = edit(COREFILE, Some(&block("consul", "10.96.0.53")));
        assert!(first.starts_with(COREFILE));
        assert!(
            first.contains("consul:53 {\n    errors\n    cache 1\n    forward . 10.96.0.53\n}\n")
        );
        let second = edit(&first, Some(&block("consul", "10.96.0.99")));
        assert!(second.contains("10.96.0.99") && !second.contains("10.96.0.53"));
        assert_eq!(edit(&second, None), COREFILE);
    }

    #[test]
    fn a_marker_without_its_newline_begins_a_block() {
        let cut = format!("{COREFILE}{}", BEGIN.trim_end());
        let wanted = block("consul", "10.96.0.53");
        let edited = edit(&cut, Some(&wanted));
        assert_eq!(edit(&edited, Some(&wanted)), edited);
        assert_eq!(edit(&cut, None), COREFILE);
    }

    #[test]
    fn a_damaged_block_does_not_swallow_what_follows() {
        let damaged =
            format!("{}extra:53 {{\n}}\n", edit("", Some(&block("a", "1.2.3.4")))).replace(END, "");
        assert_eq!(edit(&damaged, None), "extra:53 {\n}\n");
    }

    proptest! {
        #[test]
        fn the_rest_is_kept_byte_for_byte(text in "(.|\n){0,200}", other in "(.|\n){0,50}\n") {
            prop_assume!(!text.contains("lictor"));
            let wanted = block("consul", "10.96.0.53");
            let added = edit(&text, Some(&wanted));
            prop_assert!(added.starts_with(&text));
            prop_assert_eq!(edit(&added, Some(&wanted)), added.clone());
            let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            prop_assert_eq!(edit(&added, None), format!("{text}{line}"));
            let moved = format!("{other}{added}");
            prop_assert_eq!(edit(&moved, None), format!("{other}{text}{line}"));
        }
    }
}
