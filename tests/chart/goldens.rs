//! Renders are what they were, and are the same whenever and wherever they are made.

use crate::{VALUE_SETS, helm, root, run};

#[test]
fn renders_equal_the_goldens() {
    let Some(helm) = helm() else { return };
    for (name, arguments) in VALUE_SETS {
        let rendered = run(&helm, "template", arguments).expect("the value set is valid");
        let golden = root().join("tests/golden/chart").join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &rendered).expect("goldens can be written");
        }
        let kept =
            std::fs::read_to_string(&golden).expect("the golden exists; UPDATE_GOLDEN=1 writes it");
        let difference =
            rendered.lines().zip(kept.lines()).enumerate().find(|(_, (new, old))| new != old);
        assert!(
            rendered == kept,
            "{} differs, first at {difference:?}; UPDATE_GOLDEN=1 writes it again",
            golden.display()
        );
    }
}

#[test]
fn a_render_depends_on_the_values_alone() {
    let Some(helm) = helm() else { return };
    for (name, arguments) in VALUE_SETS {
        let first = run(&helm, "template", arguments);
        for kind in [
            &["--is-upgrade"] as &[&str],
            &["--kube-version=1.37.0"],
            &["--api-versions=example.com/v1"],
        ] {
            assert_eq!(
                first,
                run(&helm, "template", &[arguments, kind].concat()),
                "{name} with {kind:?}"
            );
        }
    }
}

#[test]
fn no_template_asks_the_cluster_the_clock_or_chance() {
    let forbidden = [
        "lookup",
        "rand",
        "uuidv4",
        "now",
        "genCA",
        "genSelfSignedCert",
        "genSignedCert",
        "genPrivateKey",
        "htpasswd",
        "derivePassword",
        "Capabilities",
        "Revision",
        "IsUpgrade",
        "IsInstall",
    ];
    let templates = root().join("charts/lictor/templates");
    let directories = [templates.clone(), templates.join("tests")];
    let entries = directories
        .iter()
        .flat_map(|path| std::fs::read_dir(path).expect("the chart has templates"));
    for path in
        entries.map(|entry| entry.expect("a directory entry").path()).filter(|path| path.is_file())
    {
        let text = std::fs::read_to_string(&path).expect("templates are UTF-8");
        for action in text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            for word in action.split(|c: char| !c.is_alphanumeric()) {
                assert!(
                    !forbidden.contains(&word),
                    "{} uses {word} in {{{{{action}}}}}",
                    path.display()
                );
            }
        }
    }
}
