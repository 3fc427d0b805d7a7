//! Builds the configuration in which every key has a value other than its default.

use super::*;

#[test]
fn every_key_at_once_makes_the_committed_configuration() {
    let config = built(&full()).unwrap();
    expect_file("golden/full.txt", &format!("{config:#?}\n"));
}

#[test]
fn secrets_are_not_printed() {
    let document = full();
    let shown = format!("{:?} {:?}", source(&document), built(&document).unwrap());
    let secrets: Vec<Row> =
        settings().into_iter().filter(|row| (row.key.type_name)() == "secret string").collect();
    assert!(!secrets.is_empty());
    for row in secrets {
        assert!(!shown.contains(example(&row).as_str().unwrap()), "{} is printed", row.dotted());
    }
}

#[test]
fn keys_that_exclude_each_other_work_apart() {
    for (key, server) in [("bootstrap", true), ("auto_encrypt.tls", false)] {
        let row = settings().into_iter().find(|row| row.dotted() == key).unwrap();
        let mut document = small(server);
        put(&mut document, &row, example(&row));
        let config = built(&document).unwrap();
        assert!(config.bootstrap_expect == 1 || config.auto_encrypt.tls, "{key}");
    }
}

#[test]
fn blocks_in_several_files_add_up_key_by_key() {
    let first = source(&json!({"connect": {"ca_config": {"leaf_cert_ttl": "24h"}}}));
    let second = source(&json!({"connect": {"ca_config": {"csr_max_per_second": 7}}}));
    let merged = files::overlay(files::overlay(source(&small(true)), first), second);
    let ca = build(merged, false, Vec::new()).unwrap().connect.ca;
    assert_eq!((ca.leaf_cert_ttl.to_string(), ca.csr_max_per_second), ("24h0m0s".to_owned(), 7));
}
