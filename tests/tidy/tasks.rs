//! Tasks and threads are started by their owner, `lictor_runtime::Tasks`, which gives them names
//! and notices when they die.

use super::{
    imports::{Source, sources},
    root,
};

/// Sources of the processes that serve.
const SERVING: [&str; 7] = [
    "agent/src",
    "agent/consensus/src",
    "agent/membership/src",
    "agent/store/src",
    "agent/transport/src",
    "sidecar/src",
    "operator/src",
];
/// What starts a task or thread that nothing would miss.
const STARTS: [&str; 8] = [
    "tokio::spawn",
    "task::spawn",
    "thread::spawn",
    "thread::Builder",
    "thread::Builder::new",
    "TaskTracker",
    "JoinSet",
    "TokioExecutor",
];
/// Where one of them may stand: crate, module, and why.
const EXCEPTIONS: [(&str, &str, &str); 5] = [
    ("agent/consensus/src", "log_store/open", "its thread raises the fault, and is joined"),
    ("agent/src", "agent", "counts calls under way, which run elsewhere"),
    ("agent/src", "app/start", "makes that count"),
    ("agent/src", "kubernetes/api_server", "its client's connections fail the request they carry"),
    ("operator/src", "controllers/api_server", "stands for an API server in tests"),
];

/// Lists the modules that start something without its owner.
fn unowned(sources: &[Source]) -> Vec<String> {
    let starts = |name: &&String| {
        STARTS.iter().any(|it| {
            name == it || name.ends_with(&format!("::{it}")) || name.contains(&format!("{it}::"))
        })
    };
    let found = |source: &Source| {
        let names: Vec<_> = source.names.iter().filter(starts).cloned().collect();
        (!names.is_empty()).then(|| format!("{} names {}", source.module, names.join(", ")))
    };
    sources.iter().filter_map(found).collect()
}

#[test]
fn a_task_has_a_name_and_an_owner() {
    for path in SERVING {
        let mut sources = sources(&root().join(path));
        sources.retain(|source| {
            !EXCEPTIONS.iter().any(|(room, module, _)| *room == path && *module == source.module)
        });
        assert_eq!(
            unowned(&sources),
            Vec::<String>::new(),
            "{path}: start these with lictor_runtime::Tasks, so that none dies unnoticed"
        );
    }
}

#[test]
fn a_task_that_nothing_would_miss_is_found() {
    let found = |text: &str| unowned(&[Source::parse("a", text)]);
    assert_eq!(found("fn f() { tokio::spawn(g()); }"), ["a names tokio::spawn"]);
    assert_eq!(found("use std::thread; fn f() { thread::spawn(g); }"), ["a names thread::spawn"]);
    assert_eq!(
        found("use tokio_util::task::TaskTracker;"),
        ["a names tokio_util::task::TaskTracker"]
    );
    assert_eq!(found("fn f(tasks: &Tasks) { tasks.spawn(\"a\", g()); }"), Vec::<String>::new());
}
