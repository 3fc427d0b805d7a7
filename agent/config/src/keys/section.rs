//! The macro that the table of keys is written in.
//!
//! The caller must have `keys` in scope. The macros beside it parse the braces of a row.

/// Generates one `Source` struct and its part of the table. A row is
///
/// ```text
/// /// What the key does.
/// key: Option<Type> { default: "…", bounds: "…", reload: Live, example: "…" },
/// ```
///
/// or, in the braces, `block`, `older_spelling_of: "key", example: "…"`,
/// `ignored, example: "…"` and `ignored, warn_if_set, example: "…"`. Rows may be in groups, each
/// under a title: `"Title" { … }`.
macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident {
        $($title:literal {
            $($(#[doc = $effect:literal])+ $(#[serde $serde:tt])?
            $field:ident: $type:ty { $($kind:tt)* },)*
        })*
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(
                $(#[doc = $effect])+
                #[doc = ""]
                #[doc = key_docs!($($kind)*)]
                $(#[serde $serde])?
                pub $field: $type,
            )*)*
        }

        impl keys::KeyType for $name {
            fn type_name() -> String {
                "block".to_owned()
            }

            fn section() -> Option<&'static keys::Section> {
                use keys::{Group, Key, KeyType, Section};
                static SECTION: Section = Section {
                    about: &[$($about),+],
                    groups: &[$(Group {
                        title: $title,
                        keys: &[$(Key {
                            name: key_name!($field $($serde)?),
                            type_name: <$type as KeyType>::type_name,
                            effect: &[$($effect),+],
                            kind: key_kind!($($kind)*),
                            example: key_example!($($kind)*),
                            section: <$type as KeyType>::section,
                        }),*],
                    }),*],
                };
                Some(&SECTION)
            }
        }
    };
    ($(#[doc = $about:literal])+ $name:ident { $($rows:tt)* }) => {
        section! { $(#[doc = $about])+ $name { "" { $($rows)* } } }
    };
}

macro_rules! key_name {
    ($field:ident (rename = $name:literal)) => {
        $name
    };
    ($field:ident $($serde:tt)?) => {
        stringify!($field)
    };
}

macro_rules! key_kind {
    (block) => {
        keys::Kind::Block
    };
    (default: $default:literal, bounds: $bounds:literal, reload: $reload:ident, $($rest:tt)*) => {
        keys::Kind::Setting { default: $default, bounds: $bounds, reload: keys::Reload::$reload }
    };
    (older_spelling_of: $of:literal, $($rest:tt)*) => {
        keys::Kind::OlderSpelling { of: $of }
    };
    (ignored, warn_if_set, $($rest:tt)*) => {
        keys::Kind::Ignored { warn_if_set: true }
    };
    (ignored, $($rest:tt)*) => {
        keys::Kind::Ignored { warn_if_set: false }
    };
}

macro_rules! key_example {
    (block) => {
        ""
    };
    (example: $example:literal) => {
        $example
    };
    ($first:tt $($rest:tt)*) => {
        key_example!($($rest)*)
    };
}

macro_rules! key_docs {
    (block) => {
        "A block of its own."
    };
    (default: $default:literal, bounds: $bounds:literal, reload: $reload:ident, $($rest:tt)*) => {
        concat!("Default: ", $default, ". Bounds: ", $bounds, ". ", reload_docs!($reload))
    };
    (older_spelling_of: $of:literal, $($rest:tt)*) => {
        concat!("Older spelling of `", $of, "`.")
    };
    (ignored, warn_if_set, $($rest:tt)*) => {
        "Accepted without effect; the agent warns at start when it is set."
    };
    (ignored, $($rest:tt)*) => {
        "Accepted without effect."
    };
}

macro_rules! reload_docs {
    (Live) => {
        "Reloadable."
    };
    (Restart) => {
        "Needs a restart."
    };
    (NextStart) => {
        "Counts from the next start."
    };
}
