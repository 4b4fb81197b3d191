use crate::group::{Group, number};
use crate::lengths::markers;
use crate::paths::{Entry, Kind, Length, NONE, Prefix, Scope};
use crate::text::Span;

/// Adds the prefixes among the entries of a scope, with their markers, to those of all scopes.
pub(crate) fn add(
    entries: &[Entry<'_>],
    scope: &mut Scope,
    text: &mut Vec<u8>,
    prefixes: &mut Vec<Prefix>,
    lengths: &mut Vec<Length>,
) {
    let mut own = collect(entries, text);
    let mut of_scope: Vec<usize> = own.iter().map(|p| p.text.length()).filter(|&length| length > 0).collect();
    of_scope.sort_unstable();
    of_scope.dedup();
    mark(&mut own, &of_scope);
    own.sort_by(|a, b| a.text.of(text).cmp(b.text.of(text)).then(place(a).cmp(&place(b))));
    // A marker is only needed where there is no prefix.
    own.dedup_by(|later, first| is_marker(later) && later.text.of(text) == first.text.of(text));

    let first = prefixes.len();
    link(&mut own, text, number(first));
    scope.every = if own.first().is_some_and(|p| p.text.length() == 0) { number(first) } else { NONE };
    scope.lengths.start = number(lengths.len());
    lengths.extend(of_scope.into_iter().map(|bytes| Length { bytes: number(bytes), ends_element: true }));
    scope.lengths.end = number(lengths.len());
    let of_scope = &mut lengths[scope.lengths.start as usize..];
    for prefix in own.iter().filter(|p| !p.text.of(text).ends_with(b"/")) {
        let at = of_scope.binary_search_by_key(&number(prefix.text.length()), |length| length.bytes);
        if let Some(length) = at.ok().and_then(|at| of_scope.get_mut(at)) {
            length.ends_element = false;
        }
    }
    prefixes.append(&mut own);
    scope.prefixes = number(first)..number(prefixes.len());
}

/// The prefixes among the entries; those by element get their `/`. The empty one stands for every path, `*` too.
fn collect(entries: &[Entry<'_>], text: &mut Vec<u8>) -> Vec<Prefix> {
    let prefixes = entries.iter().filter(|entry| entry.kind != Kind::Exact);
    prefixes
        .map(|entry| {
            let mut span = Span::append(text, entry.text.as_bytes());
            if entry.kind == Kind::ByElement && !entry.text.is_empty() {
                text.push(b'/');
                span = span.first(span.length() + 1);
            }
            Prefix { text: span, shorter: NONE, kind: entry.kind, group: entry.group }
        })
        .collect()
}

/// Adds the markers that lead the search over these lengths to each prefix.
fn mark(prefixes: &mut Vec<Prefix>, lengths: &[usize]) {
    let marker = |text| Prefix { text, shorter: NONE, kind: Kind::ByElement, group: Group::EMPTY };
    for at in 0..prefixes.len() {
        let text = prefixes[at].text;
        if let Ok(own) = lengths.binary_search(&text.length()) {
            prefixes.extend(markers(own, lengths.len()).map(|at| marker(text.first(lengths[at]))));
        }
    }
}

/// The order of those with the same text: without its `/` a prefix by element is the shorter one, unless it has none.
fn place(prefix: &Prefix) -> (bool, bool) {
    let by_string_first = prefix.text.length() > 0;
    (is_marker(prefix), (prefix.kind == Kind::ByString) != by_string_first)
}

fn is_marker(prefix: &Prefix) -> bool {
    prefix.group.is_empty()
}

/// Links each prefix, numbered from `first`, to the next one that fits the same paths. In sorted order those that it begins
/// with are the last ones before it that are still open.
fn link(prefixes: &mut [Prefix], text: &[u8], first: u32) {
    let mut open: Vec<(u32, Span)> = Vec::new();
    let mut at = first;
    for same in prefixes.chunk_by_mut(|a, b| a.text.of(text) == b.text.of(text)) {
        let (head, count) = (at, number(same.len()));
        at += count;
        let Some(span) = same.first().map(|p| p.text) else { continue };
        while open.pop_if(|(_, last)| !span.of(text).starts_with(last.of(text))).is_some() {}
        let shorter = open.last().map_or(NONE, |&(last, _)| last);
        for (next, prefix) in (head + 1..).zip(same.iter_mut()) {
            prefix.shorter = if next < at { next } else { shorter };
        }
        if !same.iter().all(is_marker) {
            open.push((head, span));
        }
    }
}
