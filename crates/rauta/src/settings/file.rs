//! The settings file: YAML whose nesting is the keys' dots.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};
use thiserror::Error;

use super::keys::{self, Key};

/// Why a settings file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("cannot read the settings file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}:{line}: not YAML as settings are written: {message}", path.display())]
    Malformed { path: PathBuf, line: u64, message: String },
    #[error("{}:{line}: unknown setting `{name}`{}", path.display(), hint(name))]
    Unknown { path: PathBuf, line: u64, name: String },
    #[error("{}:{line}: `{name}` should be {expected}", path.display())]
    Shape { path: PathBuf, line: u64, name: String, expected: &'static str },
    #[error("{}:{line}: `{name}` is set twice", path.display())]
    Twice { path: PathBuf, line: u64, name: String },
}

/// One setting as the file has it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) values: Vec<String>,
    pub(crate) line: u64,
}

/// Reads the settings file at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Unreadable { path: path.into(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, FileError> {
    // Nothing but comments is a file without settings.
    let is_empty =
        |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#') || line == "---";
    if text.lines().all(is_empty) {
        return Ok(Vec::new());
    }
    let node: Spanned<Node> = serde_saphyr::from_str(text).map_err(|error| malformed(path, &error))?;
    let mut entries = Vec::new();
    walk(path, "", node, &mut entries)?;
    Ok(entries)
}

/// One line of the parser's words, for who wrote the file and not for who wrote the program.
fn malformed(path: &Path, error: &serde_saphyr::Error) -> FileError {
    let error = error.without_snippet();
    FileError::Malformed {
        path: path.into(),
        line: error.location().map_or(1, |location| location.line()),
        message: UserMessageFormatter.format_message(error).into_owned(),
    }
}

fn walk(path: &Path, name: &str, node: Spanned<Node>, entries: &mut Vec<Entry>) -> Result<(), FileError> {
    let line = node.referenced.line();
    let shape = |expected| FileError::Shape { path: path.into(), line, name: name.to_owned(), expected };
    if let Some(key) = keys::find(name) {
        let values =
            match node.value {
                Node::Scalar(value) => vec![value],
                Node::List(items) if key.is_list => items
                    .into_iter()
                    .map(|item| {
                        if let Node::Scalar(value) = item {
                            Ok(value)
                        } else {
                            Err(shape("a list of values"))
                        }
                    })
                    .collect::<Result<_, _>>()?,
                Node::Null if key.is_list => vec![],
                _ if key.is_list => return Err(shape("a list")),
                _ => return Err(shape("one value")),
            };
        if entries.iter().any(|entry| entry.key.name == key.name) {
            return Err(FileError::Twice { path: path.into(), line, name: name.to_owned() });
        }
        entries.push(Entry { key, values, line });
        return Ok(());
    }
    match node.value {
        Node::Map(fields) => {
            for (field, value) in fields {
                let full = if name.is_empty() { field.value } else { format!("{name}.{}", field.value) };
                let inner = format!("{full}.");
                if keys::find(&full).is_none() && !keys::KEYS.iter().any(|key| key.name.starts_with(&inner)) {
                    return Err(FileError::Unknown {
                        path: path.into(),
                        line: field.referenced.line(),
                        name: full,
                    });
                }
                walk(path, &full, value, entries)?;
            }
            Ok(())
        }
        // `timeouts:` with nothing under it sets nothing.
        Node::Null => Ok(()),
        _ if name.is_empty() => Err(FileError::Shape {
            path: path.into(),
            line,
            name: "the file".to_owned(),
            expected: "settings with values, as `listen: :8080`",
        }),
        _ => Err(shape("settings with values under it")),
    }
}

/// The setting that was perhaps meant.
fn hint(name: &str) -> String {
    let plain = |name: &str| name.replace(['_', '-', '.'], "").to_lowercase();
    let wanted = plain(name);
    let last = wanted.len().saturating_sub(1);
    let near = keys::KEYS.iter().find(|key| {
        let known = plain(key.name);
        known == wanted
            || known.ends_with(&wanted)
            || (last > 4 && known.starts_with(&wanted[..last.min(known.len())]))
    });
    match near {
        Some(key) => format!("; perhaps `{}` is meant", key.name),
        None => "; `rauta run --print-config` lists them all".to_owned(),
    }
}

/// YAML without a shape: every scalar as its text, since `threads: 2` and `listen: :8080` are both read by their keys.
#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Node>),
    Scalar(String),
    Null,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, values and line.
    type Set = (&'static str, Vec<String>, u64);

    fn read_text(text: &str) -> Result<Vec<Set>, String> {
        let entries = parse(Path::new("rauta.yaml"), text).map_err(|error| error.to_string())?;
        Ok(entries.into_iter().map(|entry| (entry.key.name, entry.values, entry.line)).collect())
    }

    fn owned(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nesting_lists_and_numbers_are_read_with_their_lines() {
        let text = "# ours\nlisten: :8081\nthreads: 2\ntimeouts:\n  idle: 60s\nforwardedHeaders: false\n\
                    trustedProxies:\n  - 10.0.0.0/8\n  - ::1\ndataplane:\n";
        let entries = read_text(text).unwrap();
        assert_eq!(
            entries,
            [
                ("listen", owned(&[":8081"]), 2),
                ("threads", owned(&["2"]), 3),
                ("timeouts.idle", owned(&["60s"]), 5),
                ("forwardedHeaders", owned(&["false"]), 6),
                ("trustedProxies", owned(&["10.0.0.0/8", "::1"]), 8),
            ]
        );
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert_eq!(read_text("# nothing yet\n\n---\n"), Ok(vec![]));
        assert_eq!(read_text(""), Ok(vec![]));
    }

    #[test]
    fn errors_name_the_line_and_the_setting() {
        for (text, expected) in [
            ("a: 1", "rauta.yaml:1: unknown setting `a`; `rauta run --print-config` lists them all"),
            (
                "listen: :80\ntimeouts:\n  header_read: 3s",
                "rauta.yaml:3: unknown setting `timeouts.header_read`; perhaps `timeouts.headerRead` is meant",
            ),
            ("idle: 3s", "rauta.yaml:1: unknown setting `idle`; perhaps `timeouts.idle` is meant"),
            ("thread: 3", "rauta.yaml:1: unknown setting `thread`; perhaps `threads` is meant"),
            ("\nthreads: [1]", "rauta.yaml:2: `threads` should be one value"),
            ("trustedProxies: {a: b}", "rauta.yaml:1: `trustedProxies` should be a list"),
            ("log: info", "rauta.yaml:1: `log` should be settings with values under it"),
            ("just text", "rauta.yaml:1: `the file` should be settings with values, as `listen: :8080`"),
            ("threads: 1\nlog: [", "rauta.yaml:2: not YAML as settings are written: unclosed bracket '['"),
            (
                "log:\n\tlevel: info",
                "rauta.yaml:2: not YAML as settings are written: tabs disallowed within this context (block indentation)",
            ),
            (
                "threads: 2\nthreads: 3",
                "rauta.yaml:2: not YAML as settings are written: duplicate mapping key: threads not allowed here",
            ),
            (
                "threads: 2\n---\nthreads: 3",
                "rauta.yaml:3: not YAML as settings are written: only single YAML document expected but multiple found",
            ),
        ] {
            assert_eq!(read_text(text).unwrap_err(), expected, "{text}");
        }
    }
}
