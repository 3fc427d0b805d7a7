//! Reads and merges configuration files (Consul "Configuration files": order and merging).
//!
//! Files are merged in the order given, a directory's files by name; the last scalar wins, lists
//! append, maps merge key by key. Each file's `service` and `check` join `services` and `checks`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lictor_api::wire;
use serde_json::Value;

use super::source::Source;

/// Why a file was rejected; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Cannot be read.
    #[error("failed to read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is in a format that is not supported.
    #[error("failed to parse {path}: only JSON is read so far; its name must end in .json", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON, or a value of the wrong type.
    #[error("failed to parse {path}: {message}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The position and the problem.
        message: String,
    },
}

/// Reads files and directories in order and merges them.
///
/// # Errors
/// [`FileError`] names the first file that is rejected, with all its unknown keys.
pub fn load(paths: &[PathBuf]) -> Result<Source, FileError> {
    let mut merged = Value::Null;
    for path in paths {
        for file in expand(path)? {
            merge(&mut merged, to_value(read(&file)?));
        }
    }
    Ok(from_merged(merged))
}

/// Merges `flags` over `files`.
pub fn overlay(files: Source, flags: Source) -> Source {
    let mut merged = to_value(files);
    merge(&mut merged, to_value(flags));
    from_merged(merged)
}

/// Parses one document, a file or an `-hcl` fragment.
///
/// # Errors
/// [`FileError::Parse`], which names it `path`.
pub fn parse(path: &Path, text: &str) -> Result<Source, FileError> {
    let error = |message: String| FileError::Parse { path: path.to_owned(), message };
    if text.trim().is_empty() {
        return Ok(Source::default());
    }
    let value: Value = serde_json::from_str(text).map_err(|e| error(e.to_string()))?;
    let mut unknown = Vec::new();
    let mut source: Source =
        wire::from_value_collecting(value, &mut unknown).map_err(|e| error(e.to_string()))?;
    if !unknown.is_empty() {
        let plural = if unknown.len() == 1 { "error" } else { "errors" };
        let list: String =
            unknown.iter().map(|key| format!("\n\t* invalid config key {key}")).collect();
        return Err(error(format!("{} {plural} occurred:{list}", unknown.len())));
    }
    source.services.extend(source.service.take());
    source.checks.extend(source.check.take());
    Ok(source)
}

fn read(path: &Path) -> Result<Source, FileError> {
    let text = fs::read_to_string(path)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Returns a directory's `*.json` files by name (not recursive), or the file itself. COMPAT: Consul
/// reads `*.hcl` from directories too; such a file is rejected, not skipped silently.
fn expand(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let is =
        |file: &Path, extension: &str| file.extension().is_some_and(|found| found == extension);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        if is(path, "hcl") {
            return Err(FileError::Format { path: path.to_owned() });
        }
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_dir() {
            continue;
        }
        if is(&file, "hcl") {
            return Err(FileError::Format { path: file });
        }
        if is(&file, "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn to_value(source: Source) -> Value {
    serde_json::to_value(source).expect("a source holds only strings, numbers, lists and maps")
}

fn from_merged(merged: Value) -> Source {
    wire::from_value(merged).expect("what a source was written as reads as a source")
}

/// Merges `over` into `base`: `null` changes nothing, maps merge, lists append, the rest replaces.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(over)) => base.extend(over),
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(contents: &[(&str, &str)]) -> Result<Source, FileError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in contents {
            fs::write(dir.path().join(name), text).unwrap();
        }
        load(&[dir.path().to_owned()])
    }

    #[test]
    fn later_scalars_win_lists_append_and_maps_merge() {
        let source = files(&[
            ("a.json", r#"{"datacenter":"x","recursors":["1.1.1.1"],"node_meta":{"a":"1"},"service":{"name":"web"}}"#),
            ("b.json", r#"{"Datacenter":"home","recursors":["2.2.2.2"],"node_meta":{"b":"2"},"services":[{"name":"db"}],"ports":{"dns":53}}"#),
            ("c.json", ""),
            ("ignored.txt", "not json"),
        ])
        .unwrap();
        assert_eq!(source.datacenter.as_deref(), Some("home"));
        assert_eq!(source.recursors, ["1.1.1.1", "2.2.2.2"]);
        assert_eq!(source.node_meta.len(), 2);
        assert_eq!(
            source.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            ["web", "db"]
        );
        assert_eq!(source.ports.dns, Some(53));
    }

    #[test]
    fn unknown_keys_are_all_named_with_their_file() {
        let error = files(&[("x.json", r#"{"datacentre":"x","ports":{"dsn":1}}"#)])
            .unwrap_err()
            .to_string();
        assert!(error.contains("x.json: 2 errors occurred:"), "{error}");
        assert!(error.contains("\n\t* invalid config key datacentre"), "{error}");
        assert!(error.contains("\n\t* invalid config key ports.dsn"), "{error}");
    }

    #[test]
    fn text_that_is_not_json_is_reported_with_its_line() {
        let error = files(&[("x.json", "{\"a\": }")]).unwrap_err().to_string();
        assert!(error.contains("x.json") && error.contains("line 1"), "{error}");
        assert!(
            load(&[PathBuf::from("/nonexistent.json")])
                .unwrap_err()
                .to_string()
                .contains("/nonexistent.json")
        );
    }
}
