//! What a source file names: every path of its `use` items and of its code, without its tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// One file: its module path inside the crate, and what it names.
#[derive(Debug)]
pub(crate) struct Source {
    /// Below the crate's `src`, without `.rs`: `http/routes`.
    pub(crate) module: String,
    /// Paths as written, joined by `::`.
    pub(crate) names: Vec<String>,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn parse(module: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module}: {error}"));
        let mut names = Names::default();
        names.visit_file(&file);
        Self { module: module.to_owned(), names: names.0 }
    }

    /// Returns the top module that the file belongs to.
    pub(crate) fn room(&self) -> &str {
        self.module.split('/').next().unwrap_or(&self.module)
    }

    /// Returns the top modules of its own crate that it names.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &str> {
        let inside = self.names.iter().filter_map(|name| name.strip_prefix("crate::"));
        inside.filter_map(|rest| rest.split("::").next())
    }
}

/// Reads every file of a crate's `src` but its tests.
pub(crate) fn sources(src: &Path) -> Vec<Source> {
    let mut files = files(src);
    files.sort();
    let module = |file: &Path| {
        let relative = file.strip_prefix(src).expect("below src").with_extension("");
        relative.to_string_lossy().into_owned()
    };
    let is_test = |module: &str| module.split('/').any(|part| part == "tests" || part == "testing");
    files
        .iter()
        .map(|file| (module(file), file))
        .filter(|(module, _)| !is_test(module))
        .map(|(module, file)| Source::parse(&module, &fs::read_to_string(file).unwrap()))
        .collect()
}

/// Lists the `.rs` files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn add_tree(&mut self, prefix: &str, tree: &UseTree) {
        let join = |name: &str| match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}::{name}"),
        };
        match tree {
            UseTree::Path(path) => self.add_tree(&join(&path.ident.to_string()), &path.tree),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(prefix, tree))
            }
            UseTree::Name(name) if name.ident == "self" => self.0.push(prefix.to_owned()),
            UseTree::Name(name) => self.0.push(join(&name.ident.to_string())),
            UseTree::Rename(rename) => self.0.push(join(&rename.ident.to_string())),
            UseTree::Glob(_) => self.0.push(join("*")),
        }
    }

    /// Macros hold tokens, not paths: what looks like one counts.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = String::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path = format!("{path}::{ident}");
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                }
                other => {
                    if path.contains("::") {
                        self.0.push(path.clone());
                    }
                    (path, colons) = (String::new(), 0);
                    match other {
                        TokenTree::Ident(ident) => path = ident.to_string(),
                        TokenTree::Group(group) => self.add_tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        if path.contains("::") {
            self.0.push(path);
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| {
        let text = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        attribute.path().is_ident("cfg") && (text == "test" || text.starts_with("any (test"))
    };
    attributes.iter().any(is_test)
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
            self.0.push(names.join("::"));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.add_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

#[test]
fn names_are_found_wherever_they_stand_and_tests_do_not_count() {
    let text = "
        use crate::{a::{self, B}, c};
        use std::time::Instant as Moment;
        fn f(x: crate::d::E) { select! { y = crate::e::f() => {} } crate::g::h!() }
        #[cfg(test)] mod tests { use crate::z; }
        #[cfg(test)] use crate::y;
    ";
    let source = Source::parse("http/kv", text);
    assert_eq!(source.room(), "http");
    let rooms: Vec<_> = source.rooms().collect();
    assert_eq!(rooms, ["a", "a", "c", "d", "e", "g"]);
    assert!(source.names.contains(&"std::time::Instant".to_owned()));
}
