//! Bugs on purpose, to see that the tests find them; nothing that is shipped has them.
//!
//! A suite that finds nothing is trusted only if it finds known bugs. With the feature
//! `planted-bugs`, which is off and which only `tests/cluster` turns on, the environment variable
//! `LICTOR_PLANTED` names one bug. Without the feature [`is_planted`] is a constant, and what it
//! guards is not in the binary. `tests/cluster/RELIABILITY.md` says what found each.

/// A bug, named after the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A log entry counts as durable before the disk has it.
    AnswerBeforeSync,
    /// A vote is granted and not saved.
    VoteNotSaved,
    /// The last entries of the log are cut when it is opened, as if they were a torn tail.
    TailCut,
    /// A leader serves default reads however long ago a quorum followed it.
    LeaseWithoutBound,
    /// A leader serves default reads before it has applied what followers may show already.
    FollowerAhead,
    /// A follower serves default reads from its own state, however old.
    ReadWithoutBarrier,
    /// A leader serves consistent reads without asking a quorum.
    ConsistentWithoutQuorum,
    /// A read joins a round of read indexes that was begun before it (etcd #20418).
    RoundReused,
    /// A blocking query registers after it has read, and does not read again.
    WatchAfterRead,
    /// Waiters are woken before the state they wait for is published.
    WakeBeforePublish,
    /// `cas` does not compare.
    CasWithoutComparison,
    /// A session locks a key that another holds.
    LockTakenOver,
    /// A write whose outcome is unknown is retried.
    UnknownRetried,
    /// An installed snapshot lacks its last key.
    SnapshotIncomplete,
}

/// Returns whether this process has the bug.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(bug: Bug) -> bool {
    static NAME: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let name = NAME.get_or_init(|| std::env::var("LICTOR_PLANTED").ok());
    name.as_deref().is_some_and(|name| name == format!("{bug:?}"))
}

/// Returns whether this process has the bug: never.
#[cfg(not(feature = "planted-bugs"))]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
