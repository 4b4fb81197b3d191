use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

/// Nodes of one file, with what aliases stand for: bounds what a few lines of nested aliases can grow to.
pub(crate) const NODES_MAX: usize = 1_000_000;

/// A node of a YAML document and where it stands; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) value: Node,
}

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
}

/// The documents of a file. After an error the rest of its document is skipped and the next one is read.
pub(crate) fn documents(text: &str) -> Vec<Result<Node, SyntaxError>> {
    documents_within(text, NODES_MAX).0
}

/// The same of a text that may stand for so many nodes; and for how many it does.
pub(crate) fn documents_within(text: &str, nodes_max: usize) -> (Vec<Result<Node, SyntaxError>>, usize) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        nodes: 0,
        nodes_max,
    };
    let mut documents = Vec::new();
    loop {
        match builder.document() {
            Ok(Some(node)) => documents.push(Ok(node)),
            Ok(None) => return (documents, builder.nodes),
            Err(error) => {
                documents.push(Err(error));
                if builder.nodes > nodes_max || !matches!(builder.parser.proceed_next_document(), Ok(true)) {
                    return (documents, builder.nodes);
                }
            }
        }
    }
}

impl Node {
    /// The node as JSON, as Kubernetes reads it.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Map(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Whether nothing stands there.
    pub(crate) fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text of a key.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

type Read<T> = Result<T, SyntaxError>;

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    nodes_max: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Read<Option<Node>> {
        self.anchors.clear();
        loop {
            let Some((event, span)) = self.next()? else { return Ok(None) };
            match event {
                Event::StreamEnd => return Ok(None),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => return self.node(event, span).map(Some),
            }
        }
    }

    fn next(&mut self) -> Read<Option<(Event<'a>, Span)>> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(next)) => Ok(Some(next)),
            Some(Err(error)) => {
                let marker = error.marker();
                let (line, column) = (marker.line(), marker.col() + 1);
                Err(SyntaxError { line: number(line), column: number(column), message: error.info() })
            }
        }
    }

    fn inner(&mut self, opened: Span) -> Read<(Event<'a>, Span)> {
        self.next()?.ok_or_else(|| error(opened, "the file ends within this value"))
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Read<Node> {
        self.count(1, span)?;
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (Content::Scalar(scalar(text, style, tag)), anchor),
            Event::SequenceStart(_, anchor, _) => (self.list(span)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(span)?, anchor),
            Event::Alias(id) => {
                let size = self.anchors.get(&id).map_or(0, size);
                self.count(size, span)?;
                let node = self.anchors.get(&id).cloned();
                return node.ok_or_else(|| error(span, "this alias stands for itself or for nothing"));
            }
            _ => return Err(error(span, "a value was expected here")),
        };
        let node = Node { line: line(span), column: column(span), content };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, opened: Span) -> Read<Content> {
        let mut items = Vec::new();
        loop {
            match self.inner(opened)? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self, opened: Span) -> Read<Content> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = match self.inner(opened)? {
                (Event::MappingEnd, _) => break,
                next => next,
            };
            let Event::Scalar(key, style, _, _) = event else {
                return Err(error(at, "a key must be plain text"));
            };
            let (event, span) = self.inner(opened)?;
            let value = self.node(event, span)?;
            if key == "<<" && style == ScalarStyle::Plain {
                merged.extend(
                    merge_sources(value).ok_or_else(|| error(at, "'<<' takes a map or a list of maps"))?,
                );
                continue;
            }
            if let Some(earlier) = entries.iter().find(|entry| entry.key == *key) {
                let message = format!("key {key:?} stands here twice; first in line {}", earlier.line);
                return Err(error(at, &message));
            }
            entries.push(Entry { key: key.into_owned(), line: line(at), column: column(at), value });
        }
        // YAML merge keys: what the map says itself wins, then the first source.
        for entry in merged {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(entry);
            }
        }
        Ok(Content::Map(entries))
    }

    fn count(&mut self, nodes: usize, span: Span) -> Read<()> {
        self.nodes += nodes;
        if self.nodes > self.nodes_max {
            let message =
                format!("the file stands for more than {NODES_MAX} values, counting what aliases repeat");
            return Err(error(span, &message));
        }
        Ok(())
    }
}

fn merge_sources(value: Node) -> Option<Vec<Entry>> {
    match value.content {
        Content::Map(entries) => Some(entries),
        Content::List(items) => {
            let mut all = Vec::new();
            for item in items {
                match item.content {
                    Content::Map(entries) => all.extend(entries),
                    _ => return None,
                }
            }
            Some(all)
        }
        Content::Scalar(_) => None,
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::Scalar(_) => 0,
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

/// YAML 1.2.2 core schema (section 10.3.2); what JSON cannot hold (`.inf`, `.nan`) stays text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<Cow<'_, Tag>>) -> Value {
    if style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str")) {
        return Value::String(text.into_owned());
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    integer(&text).or_else(|| float(&text)).unwrap_or_else(|| Value::String(text.into_owned()))
}

fn integer(text: &str) -> Option<Value> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Value::from);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    plain.parse::<u64>().map(Value::from).or_else(|_| plain.parse::<i64>().map(Value::from)).ok()
}

fn float(text: &str) -> Option<Value> {
    let is_number = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !is_number {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64).map(Value::Number)
}

fn error(span: Span, message: &str) -> SyntaxError {
    SyntaxError { line: line(span), column: column(span), message: message.to_owned() }
}

fn line(span: Span) -> u32 {
    number(span.start.line())
}

fn column(span: Span) -> u32 {
    number(span.start.col() + 1)
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        documents(text).remove(0).unwrap().to_json()
    }

    fn failure(text: &str) -> SyntaxError {
        documents(text).into_iter().find_map(Result::err).unwrap()
    }

    #[test]
    fn scalars_have_the_types_of_the_core_schema() {
        let text = "[a, 1, -2, +3, 0x1f, 0o17, 1.5, 1e3, true, False, null, ~, '1', \"true\", 1.2.3, 10.0.0.1, 1-2, \
                    .inf, yes, !!str 5]";
        assert_eq!(
            one(text),
            json!([
                "a", 1, -2, 3, 31, 15, 1.5, 1000.0, true, false, null, null, "1", "true", "1.2.3",
                "10.0.0.1", "1-2", ".inf", "yes", "5"
            ])
        );
    }

    #[test]
    fn nodes_know_where_they_stand() {
        let node = documents("a: 1\nb:\n  - c: x\n").remove(0).unwrap();
        let b = node.get("b").unwrap();
        assert_eq!((b.line, b.column), (2, 1));
        let Content::List(items) = &b.value.content else { panic!("{b:?}") };
        let c = items[0].get("c").unwrap();
        assert_eq!((c.line, c.column, c.value.line, c.value.column), (3, 5, 3, 8));
    }

    #[test]
    fn a_syntax_error_names_its_place_and_spares_the_next_document() {
        let found = documents("a: 1\n---\nb: [1\nc: 2\n---\nd: 3\n");
        assert_eq!(found[0].as_ref().unwrap().to_json(), json!({"a": 1}));
        assert!((3..=5).contains(&found[1].as_ref().unwrap_err().line), "{:?}", found[1]);
        assert_eq!(found[2].as_ref().unwrap().to_json(), json!({"d": 3}));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_key_may_not_stand_twice() {
        let error = failure("a: 1\nb: 2\na: 3\n");
        assert_eq!((error.line, error.column), (3, 1));
        assert!(error.message.contains("first in line 1"), "{error:?}");
    }

    #[test]
    fn anchors_aliases_and_merge_keys_are_followed() {
        let text = "base: &b {x: 1, y: 2}\nsame: *b\nmore: {<<: *b, y: 3}\n";
        let (base, more) = (json!({"x": 1, "y": 2}), json!({"y": 3, "x": 1}));
        assert_eq!(one(text), json!({"base": base, "same": base, "more": more}));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_before_it_grows() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
        }
        assert!(failure(&text).message.contains("aliases"), "{:?}", failure(&text));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        assert!(documents(&"[".repeat(100_000))[0].is_err());
    }
}
