//! Fuzzing: each decoder that reads what others wrote, with a property that must hold for any input.
//!
//! A target is a function of bytes that panics when its property does not hold: a way back and
//! forth, two implementations that agree, a bound. As a test it runs its corpus and then a second
//! of random inputs; `run.sh` runs it for longer. See README.md.
//!
//! INVARIANT: a target is a pure function of its input, so that what it found once it finds again.

#![forbid(unsafe_code)]

mod api;
mod dns;
mod frames;
mod http;
mod input;
mod kubernetes;
mod stored;

/// Targets as tests: `name: property, [tokens that random inputs are made of]`.
///
/// bolero finds a target by the function that `check!` stands in, so it stands in the test itself.
macro_rules! targets {
    ($($name:ident: $property:path, [$($token:expr),* $(,)?];)*) => {
        $(#[test]
        fn $name() {
            let inputs = input::Inputs::of(stringify!($name), &[$($token.as_ref()),*]);
            inputs.run_corpus($property);
            bolero::check!().with_max_len(512).for_each(|recipe: &[u8]| {
                inputs.run(recipe, $property);
            });
        })*
    };
}

targets! {
    wire: api::wire, ["\"Name\":", "\"enable_tag\":", "\"PORT\":", "null", ",", "{", "}", "[]", "65536"];
    same_key: api::same_key, ["_", "\n", "Name", "nAME", "é"];
    duration: api::duration, ["h", "m", "s", "ms", "us", "µs", "ns", ".", "9223372036854775807", "0", "1"];
    spiffe: api::spiffe, ["spiffe://", "/ns/default/dc/", "/svc/", "/agent/client/dc/", "/id/", "..", "%2f"];
    upstream: api::upstream, [":", "?", "&", "=", ",", ".svc", ".dc", "local_bind_address=", "::1", "dc="];
    query: http::query, ["%", "%2B", "+", "&", "=", "near=_agent", "token=x", "?", "%ff", "ä"];
    filter: http::filter, ["(", ")", " and ", " or ", "not ", "==", " in ", "`", "\"", "Service.Tags", "Node.Meta.os"];
    dns: dns::packet, ["\u{3}web\u{7}service\u{6}consul\0", "\0\u{1}\0\u{1}", "\u{3}foo\u{4}node\u{6}consul\0", "\0\0\u{29}"];
    archive: stored::archive, ["meta.json", "state.bin", "SHA256SUMS", "ustar  \0", "{\"Index\":", "\0\0\0\0"];
    entry: stored::entry, ["\u{1}", "Kv", "Set", "Lock", "Register", "Transaction", "session", "s1", "lock/1"];
    snapshot: stored::snapshot, ["nodes", "services", "checks", "kv", "graveyard", "staging", "sessions"];
    frames: frames::frames, ["\u{8}\u{1}", "\u{10}", "\u{12}\u{0}", "\u{2a}"];
    annotations: kubernetes::annotations, ["lictor.dev/", "consul.hashicorp.com/", "connect-service", "=", "\n", "\\", "\""];
    corefile: kubernetes::corefile, ["# BEGIN lictor (managed by lictor-operator, do not edit)\n", "# END lictor\n", "\n}\n", "{", "\n"];
}
