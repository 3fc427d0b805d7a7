//! Inputs: the corpus of a target, and what random recipes make of it.
//!
//! Random bytes alone are refused at the first check of nearly every decoder. So they are read as a
//! recipe: take an input of the corpus, and overwrite, insert, delete or repeat parts of it, with
//! tokens of the format among them. An engine that watches coverage changes recipes just as well.

use std::{fmt::Write, fs, panic, path::Path};

/// What a target runs on.
pub(crate) struct Inputs {
    corpus: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
}

/// Inputs do not grow beyond this, so that none is slow for its length alone.
const MAX_BYTES: usize = 64 << 10;

impl Inputs {
    /// Reads the corpus of target `name`: `text` and `hex` lines, each below a comment that says
    /// what it is there for, and `file` lines that name a golden of old formats.
    pub(crate) fn of(name: &str, tokens: &[&[u8]]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join("corpus").join(format!("{name}.txt"));
        let text = fs::read_to_string(&path).expect("every target has a corpus");
        let mut corpus = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(' ') {
                Some(("text", json)) => {
                    let text: String = serde_json::from_str(json).expect("the text is JSON");
                    corpus.push(text.into_bytes());
                }
                Some(("hex", digits)) => corpus.push(unhex(digits)),
                Some(("goldens", file)) => corpus.extend(goldens(&folder.join(file))),
                _ => panic!("{}: {line:?} is not an input", path.display()),
            }
        }
        assert!(!corpus.is_empty(), "{} is empty", path.display());
        Self { corpus, tokens: tokens.iter().map(|token| token.to_vec()).collect() }
    }

    /// Runs the property on every input of the corpus.
    pub(crate) fn run_corpus(&self, property: fn(&[u8])) {
        self.corpus.iter().for_each(|input| shown(input, property));
    }

    /// Runs the property on what a recipe makes.
    pub(crate) fn run(&self, recipe: &[u8], property: fn(&[u8])) {
        shown(&self.make(recipe), property);
    }

    fn make(&self, recipe: &[u8]) -> Vec<u8> {
        let mut recipe = Recipe(recipe);
        if recipe.next() < 16 {
            return recipe.0.to_vec();
        }
        let mut input = recipe.one_of(&self.corpus).clone();
        for _ in 0..recipe.next() % 8 {
            let at = recipe.place(input.len() + 1);
            let end = (at + usize::from(recipe.next() % 32)).min(input.len());
            match recipe.next() % 8 {
                0 | 1 => drop(input.splice(at..at, recipe.one_of(&self.tokens).clone())),
                2 => drop(input.splice(at..end, recipe.one_of(&self.tokens).clone())),
                3 => drop(input.drain(at..end)),
                4 => {
                    let part = input[at..end].to_vec();
                    for _ in 0..recipe.next() % 16 {
                        input.splice(at..at, part.iter().copied());
                    }
                }
                5 => {
                    let other = recipe.one_of(&self.corpus);
                    let from = recipe.place(other.len() + 1);
                    input.splice(at.., other[from..].iter().copied());
                }
                6 => {
                    let extremes = [0, 1, 0x7f, 0x80, 0xff];
                    let byte = *recipe.one_of(&extremes);
                    input[at..end].fill(byte);
                }
                _ => {
                    let byte = recipe.next();
                    input.splice(at..(at + 1).min(end.max(at)), [byte]);
                }
            }
        }
        input.truncate(MAX_BYTES);
        input
    }
}

/// Random bytes that are read as decisions; when they end, every decision is the first.
struct Recipe<'r>(&'r [u8]);

impl Recipe<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn place(&mut self, places: usize) -> usize {
        usize::from(u16::from_be_bytes([self.next(), self.next()])) % places
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.place(list.len())]
    }
}

/// Runs the property; the input of one that fails is printed as a line for the corpus.
fn shown(input: &[u8], property: fn(&[u8])) {
    if let Err(failure) = panic::catch_unwind(|| property(input)) {
        let line = match std::str::from_utf8(input) {
            Ok(text) => format!("text {}", serde_json::Value::from(text)),
            Err(_) => format!("hex {}", hex(input)),
        };
        // Not through the macro, which the lints keep for programs: this is what a failed test says.
        std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes())
            .expect("stderr can be written");
        panic::resume_unwind(failure);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("texts can be written");
        text
    })
}

fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Returns the bytes of every golden in a file of `tests/golden/formats`: the lines of digits
/// between a title, or the beginning, and a rendering.
fn goldens(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).expect("the golden exists");
    let is_digits = |line: &&str| line.len() > 1 && line.bytes().all(|b| b.is_ascii_hexdigit());
    let blocks = text.split("== ").map(|block| {
        let lines = block.lines().skip_while(|line| !is_digits(line));
        unhex(&lines.take_while(is_digits).collect::<String>())
    });
    blocks.filter(|bytes| !bytes.is_empty()).collect()
}
