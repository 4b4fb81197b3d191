//! A file in parts: its documents, each of which is read by itself and kept for as long as its text stays the same.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;
use model::{Diagnostic, Place, Reason, Severity};

use crate::document::{self, Item};
use crate::yaml::{self, NODES_MAX, Node};

/// What stands between two lines of `---`: mostly one document.
#[derive(Debug)]
pub(crate) struct Part {
    text: Box<str>,
    /// How many lines it ends.
    lines: u32,
    /// How many values it stands for.
    nodes: usize,
    /// The objects in it. Places are counted from the part's first line.
    pub(crate) items: Vec<Item>,
    /// What is no YAML in it.
    pub(crate) errors: Vec<Diagnostic>,
    /// Places that were asked for before.
    places: Mutex<Vec<Asked>>,
}

/// A field of an item, and its line and column.
type Asked = (usize, String, (u32, u32));

/// Reads a file's parts. Those of `before` whose text stands here, too, are taken over.
pub(crate) fn read(text: &str, before: &[Arc<Part>]) -> Vec<Arc<Part>> {
    read_within(text, before, NODES_MAX)
}

fn read_within(text: &str, before: &[Arc<Part>], nodes_max: usize) -> Vec<Arc<Part>> {
    let texts: Vec<&str> = split(text).map(|range| &text[range]).collect();
    // What an edit leaves alone stands before it and behind it.
    let same = |pair: &(&&str, &Arc<Part>)| **pair.0 == *pair.1.text;
    let front = texts.iter().zip(before).take_while(same).count();
    let back = texts[front..].iter().rev().zip(before[front..].iter().rev()).take_while(same).count();
    let (mut parts, mut nodes) = (Vec::with_capacity(texts.len()), 0);
    for (at, text) in texts.iter().enumerate() {
        let known = if at < front {
            before.get(at)
        } else {
            (at + back).checked_sub(texts.len()).and_then(|at| before.get(before.len() - back + at))
        };
        let part =
            known.map_or_else(|| Arc::new(Part::read(text, nodes_max.saturating_sub(nodes))), Arc::clone);
        nodes += part.nodes;
        if nodes > nodes_max && part.errors.is_empty() {
            // Its own values were few enough while others stood before it.
            parts.push(Arc::new(Part::read(text, 0)));
            break;
        }
        parts.push(part);
        if nodes > nodes_max {
            break;
        }
    }
    parts
}

impl Part {
    fn read(text: &str, nodes_max: usize) -> Self {
        let (documents, nodes) = yaml::documents_within(text, nodes_max);
        let (mut items, mut errors) = (Vec::new(), Vec::new());
        for (i, document) in documents.into_iter().enumerate() {
            match document {
                Ok(node) => items.extend(document::items(&node, i)),
                Err(error) => errors.push(Diagnostic {
                    severity: Severity::Error,
                    reason: Reason::Malformed,
                    object: None,
                    field: String::new(),
                    place: Some(Place { file: Arc::default(), line: error.line, column: error.column }),
                    message: format!(
                        "is no YAML: {}; what this file held before and can no longer be read stays in force",
                        error.message
                    ),
                }),
            }
        }
        // Most have one, where room for four was made.
        items.shrink_to_fit();
        let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
        Self {
            text: text.into(),
            lines: u32::try_from(lines).unwrap_or(u32::MAX),
            nodes,
            items,
            errors,
            places: Mutex::default(),
        }
    }

    /// How many lines it ends.
    pub(crate) fn lines(&self) -> u32 {
        self.lines
    }

    /// Whether there is something to say about it.
    pub(crate) fn is_noisy(&self) -> bool {
        !self.errors.is_empty() || self.items.iter().any(|item| !item.diagnostics.is_empty())
    }

    /// Line, counted from the part's first one, and column of a field of the item at this place.
    pub(crate) fn place(&self, at: usize, field: &str) -> Option<(u32, u32)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., place)) = places.iter().find(|(item, name, _)| *item == at && *name == field) {
            return Some(*place);
        }
        // The text is kept, not its tree: that is made again for the few that are asked for.
        let item = self.items.get(at)?;
        let node: Node = yaml::documents(&self.text).into_iter().nth(item.document)?.ok()?;
        let place = item.place(&node, field);
        places.push((at, field.to_owned(), place));
        Some(place)
    }
}

/// Where parts begin and end: at lines that start with `---`, which end a document whatever it is in (YAML 1.2.2, section
/// 9.1.2). A file with directives, which stand before that line, is one part.
fn split(text: &str) -> impl Iterator<Item = Range<usize>> {
    let has_directives = text.starts_with('%') || memmem::find(text.as_bytes(), b"\n%").is_some();
    let marks = memmem::find_iter(text.as_bytes(), "\n---").map(|at| at + 1).filter(move |at| {
        let after = text.as_bytes().get(at + 3);
        !has_directives && after.is_none_or(u8::is_ascii_whitespace)
    });
    let mut ends = marks.chain([text.len()]);
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = ends.next()?;
        Some(std::mem::replace(&mut start, end)..end)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        split(text).map(|range| &text[range]).collect()
    }

    #[test]
    fn parts_begin_where_documents_do() {
        assert_eq!(texts("a: 1\n---\nb: 2\n--- {c: 3}\n"), ["a: 1\n", "---\nb: 2\n", "--- {c: 3}\n"]);
        assert_eq!(texts("---\na: ---\n ---\n---b: 1\n"), ["---\na: ---\n ---\n---b: 1\n"]);
        assert_eq!(texts("a: 1\n---"), ["a: 1\n", "---"]);
        assert_eq!(texts(""), [""]);
        assert_eq!(texts("%YAML 1.2\n---\na: 1\n---\nb: 1\n").len(), 1);
    }

    #[test]
    fn what_stays_the_same_is_not_read_again() {
        let before = read("kind: A\n---\nkind: B\n---\nkind: C\n", &[]);
        let after = read("kind: A\n---\nkind: X\n---\nkind: Y\n---\nkind: C\n", &before);
        assert_eq!((after.len(), before.len()), (4, 3));
        assert!(Arc::ptr_eq(&after[0], &before[0]) && Arc::ptr_eq(&after[3], &before[2]));
        let fewer = read("kind: A\n---\nkind: C\n", &before);
        assert!(Arc::ptr_eq(&fewer[0], &before[0]) && Arc::ptr_eq(&fewer[1], &before[2]));
    }

    #[test]
    fn a_file_stands_for_so_many_values_only_however_its_parts_came() {
        let part = |name: &str| format!("---\n{name}: [{}]\n", "x,".repeat(60));
        let both = format!("{}{}", part("a"), part("b"));
        let before = read_within(&part("b"), &[], 100);
        assert!(before.iter().all(|part| part.errors.is_empty()));
        for known in [&before[..], &[]] {
            let parts = read_within(&both, known, 100);
            let errors: Vec<_> = parts.iter().flat_map(|part| &part.errors).collect();
            assert!(errors.len() == 1 && errors[0].message.contains("more than"), "{errors:?}");
        }
    }

    proptest! {
        /// Documents are read alike in parts and in one go; so are their places.
        #[test]
        fn parts_read_as_the_whole(
            lines in prop::collection::vec(
                prop::sample::select(&[
                    "---", "--- # x", "a: 1", "b: [1,", "2]", "c: |", "  text", "  ---", "d: 'x", "y'", "...", "# c", "", "- e",
                    "&f g: *f", "--- !!map {h: 1}", "\"",
                ][..]),
                0..14,
            )
        ) {
            let text = lines.join("\n");
            let whole: Vec<_> = yaml::documents(&text).into_iter().filter_map(Result::ok).collect();
            let has_errors = yaml::documents(&text).iter().any(Result::is_err);
            let mut offset = 0;
            let mut found = Vec::new();
            let mut part_errors = false;
            for range in split(&text) {
                let part = &text[range];
                for document in yaml::documents(part) {
                    match document {
                        Ok(node) => found.push((node.line + offset, node.column, node.to_json())),
                        Err(_) => part_errors = true,
                    }
                }
                offset += u32::try_from(part.matches('\n').count()).unwrap_or(0);
            }
            prop_assert_eq!(has_errors, part_errors, "{}", text);
            if !has_errors {
                let whole: Vec<_> =
                    whole.into_iter().map(|node| (node.line, node.column, node.to_json())).collect();
                prop_assert_eq!(whole, found, "{}", text);
            }
        }
    }
}
