//! The table of keys agrees with the `Source` structs.

use std::collections::BTreeSet;

use super::{super::keys::Section, *};

#[test]
fn the_table_has_the_keys_that_files_can_have() {
    let written = serde_json::to_value(source(&full())).unwrap();
    fn compare(place: &str, section: &Section, written: &Value) {
        let fields: BTreeSet<&str> =
            written.as_object().unwrap().keys().map(String::as_str).collect();
        let rows: Vec<&str> = section.keys().map(|key| key.name).collect();
        assert_eq!(fields, rows.iter().copied().collect(), "keys of {place:?}");
        assert_eq!(fields.len(), rows.len(), "{place:?} has a key twice");
        for key in section.keys() {
            if let Some(block) = (key.section)() {
                compare(&format!("{place}{}.", key.name), block, &written[key.name]);
            }
        }
    }
    compare("", Source::table(), &written);
}

#[test]
fn a_key_that_is_null_is_not_given() {
    let mut document = small(true);
    let plain = format!("{:?}", built(&document).unwrap());
    for key in Source::table().keys().filter(|key| document.get(key.name).is_none()) {
        let mut with_null = document.clone();
        with_null[key.name] = Value::Null;
        assert_eq!(format!("{:?}", built(&with_null).unwrap()), plain, "{}", key.name);
    }
    document["connect"] = json!({"ca_config": null});
    assert_eq!(format!("{:?}", built(&document).unwrap()), plain);
}

#[test]
fn every_row_says_what_it_has_to() {
    let rows = Source::table().rows();
    let names: BTreeSet<String> = rows.iter().map(Row::dotted).collect();
    for row in &rows {
        let key = row.dotted();
        assert!(row.key.effect.concat().trim().ends_with('.'), "{key} does not say what it does");
        match row.key.kind {
            Kind::Block => assert!((row.key.section)().is_some(), "{key} is no block"),
            Kind::Setting { default, bounds, .. } => {
                assert!(
                    !default.is_empty() && !bounds.is_empty(),
                    "{key} has no default or bounds"
                );
            }
            Kind::OlderSpelling { of } => assert!(names.contains(of), "{key}: {of} is no key"),
            Kind::Ignored { .. } => {}
        }
    }
}

#[test]
fn a_warning_names_each_ignored_key_that_operators_may_rely_on() {
    let document = full();
    let warned: Vec<String> = settings()
        .into_iter()
        .filter(|row| row.key.kind == Kind::Ignored { warn_if_set: true })
        .map(|row| row.dotted())
        .collect();
    assert_eq!(source(&document).without_effect(), warned);
    assert!(warned.iter().any(|key| key == "acl"), "{warned:?}");
    assert!(warned.iter().any(|key| key == "telemetry.statsite_address"), "{warned:?}");
    let warnings = built(&document).unwrap().warnings;
    for key in warned {
        let words = format!("{key:?} is accepted but has no effect yet");
        assert!(warnings.iter().any(|warning| warning.contains(&words)), "{key}: {warnings:?}");
    }
    assert!(source(&json!({"acl": {"tokens": {}}, "watches": []})).without_effect().is_empty());
}
