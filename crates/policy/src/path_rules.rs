//! Paths that several spellings have: brought to one before a route is looked for.
//!
//! The same three questions, in the same order, as Envoy's `path_with_escaped_slashes_action`, `normalize_path` and
//! `merge_slashes`. Every path that these rules change has `%`, `//` or `/.` in it, which the kernel tier leaves to
//! userspace.

/// What is done about paths that more than one spelling has. Off by default: what is matched is what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// Unreserved characters are decoded, escapes written in capitals, dot segments taken out (RFC 3986 sections 6.2.2.1 to
    /// 6.2.2.3).
    pub normalize: bool,
    /// Slashes that follow each other become one.
    pub merge_slashes: bool,
    /// What becomes of `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// What becomes of paths with escaped slashes or backslashes, which some endpoints take for slashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    #[default]
    Keep,
    /// They become slashes.
    Forward,
    /// The client is sent to the path with slashes.
    Redirect,
    /// 400.
    Reject,
}

/// What rules say of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuledPath {
    /// It stays.
    Same,
    /// It becomes this one.
    Changed(String),
    /// The client is sent to this one.
    Redirect(String),
    /// 400, for this reason.
    Rejected(&'static str),
}

impl PathRules {
    /// Applies the rules to a path, without its query. What is no path (`*` of OPTIONS) stays.
    ///
    /// Applied again to the outcome, they change nothing.
    pub fn apply(&self, path: &str) -> RuledPath {
        if *self == Self::default() || !path.starts_with('/') || !is_ambiguous(path) {
            return RuledPath::Same;
        }
        let decodes = self.normalize || self.escaped_slashes != EscapedSlashes::Keep;
        // Decoding what stands behind a stray `%` could make an escape that was not there.
        if decodes && !has_whole_escapes(path) {
            return RuledPath::Rejected("path with a malformed escape");
        }
        let has_escaped = has_escaped_slashes(path);
        let mut ruled = match self.escaped_slashes {
            EscapedSlashes::Reject if has_escaped => {
                return RuledPath::Rejected("path with an escaped slash");
            }
            EscapedSlashes::Forward | EscapedSlashes::Redirect if has_escaped => unescape_slashes(path),
            _ => path.to_owned(),
        };
        if self.normalize {
            ruled = remove_dot_segments(&decode_unreserved(&ruled));
        }
        if self.merge_slashes {
            ruled = merge_slashes(&ruled);
        }
        match self.escaped_slashes {
            EscapedSlashes::Redirect if has_escaped => RuledPath::Redirect(ruled),
            _ if ruled == path => RuledPath::Same,
            _ => RuledPath::Changed(ruled),
        }
    }
}

fn is_ambiguous(path: &str) -> bool {
    path.as_bytes().windows(2).any(|two| matches!(two, b"//" | b"/." | [b'%', _])) || path.ends_with('%')
}

/// Byte, and its length in the text: an escape stands for the byte that it encodes.
fn pieces(path: &str) -> impl Iterator<Item = (Option<u8>, &str)> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let length = if rest.starts_with('%') { 3 } else { rest.chars().next()?.len_utf8() };
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        let escaped = piece.strip_prefix('%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        Some((escaped, piece))
    })
}

fn has_whole_escapes(path: &str) -> bool {
    let is_whole = |piece: &str| piece.len() == 3 && piece.bytes().skip(1).all(|b| b.is_ascii_hexdigit());
    pieces(path).all(|(_, piece)| !piece.starts_with('%') || is_whole(piece))
}

fn has_escaped_slashes(path: &str) -> bool {
    pieces(path).any(|(escaped, _)| matches!(escaped, Some(b'/' | b'\\')))
}

fn unescape_slashes(path: &str) -> String {
    let piece = |(escaped, piece)| match escaped {
        // To who takes a backslash for a slash it is one.
        Some(b'/' | b'\\') => "/",
        _ => piece,
    };
    pieces(path).map(piece).collect()
}

/// RFC 3986 section 2.3: ALPHA / DIGIT / "-" / "." / "_" / "~".
fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (escaped, piece) in pieces(path) {
        match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte.into()),
            Some(_) => out.push_str(&piece.to_ascii_uppercase()),
            None => out.push_str(piece),
        }
    }
    out
}

/// RFC 3986 section 5.2.4, of a path that begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let mut is_open = false;
    for segment in segments {
        is_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    // What a dot segment at the end leaves is a folder.
    if is_open {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: PathRules =
        PathRules { normalize: true, merge_slashes: false, escaped_slashes: EscapedSlashes::Keep };

    fn with(escaped_slashes: EscapedSlashes) -> PathRules {
        PathRules { escaped_slashes, ..Default::default() }
    }

    fn changed(rules: PathRules, path: &str) -> String {
        match rules.apply(path) {
            RuledPath::Same => path.to_owned(),
            RuledPath::Changed(path) => path,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn nothing_changes_by_default() {
        for path in ["/", "/a/../b", "//", "/%2F", "/%", "*", "/a/.", "/%2e"] {
            assert_eq!(PathRules::default().apply(path), RuledPath::Same, "{path}");
        }
    }

    /// The first is the example of RFC 3986 section 5.2.4, the third from 6.2.2.
    #[test]
    fn normal_paths_are_those_of_rfc_3986() {
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/mid/content=5/../6", "/mid/6"),
            ("/a/./b/../b/%63/%7bfoo%7d", "/a/b/c/%7Bfoo%7D"),
            ("/", "/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a//../b", "/a/b"),
            ("/a//b", "/a//b"),
            ("/%2e%2E/%2e/x", "/x"),
            ("/.a/..b/c.", "/.a/..b/c."),
            ("/a%2fb/..%2fc", "/a%2Fb/..%2Fc"),
            ("/%41%7e%2d", "/A~-"),
            ("/%00%ff", "/%00%FF"),
            ("/%252e", "/%252e"),
            ("*", "*"),
        ] {
            assert_eq!(changed(NORMAL, path), expected, "{path}");
        }
        for path in ["/%", "/%2", "/%%32F", "/%zz", "/a%2"] {
            assert_eq!(NORMAL.apply(path), RuledPath::Rejected("path with a malformed escape"), "{path}");
        }
    }

    #[test]
    fn slashes_become_one() {
        let rules = PathRules { merge_slashes: true, ..Default::default() };
        for (path, expected) in [("//a///b//", "/a/b/"), ("/a/b", "/a/b"), ("/a/.//%", "/a/./%")] {
            assert_eq!(changed(rules, path), expected);
        }
        assert_eq!(changed(PathRules { merge_slashes: true, ..NORMAL }, "/a//../b//c"), "/a/b/c");
    }

    #[test]
    fn escaped_slashes_are_what_the_rules_say() {
        use EscapedSlashes::{Forward, Redirect, Reject};
        assert_eq!(changed(with(Forward), "/a%2Fb%5cc%2e"), "/a/b/c%2e");
        assert_eq!(changed(PathRules { escaped_slashes: Forward, ..NORMAL }, "/a%2f..%5Cb"), "/b");
        assert_eq!(with(Redirect).apply("/a%2fb"), RuledPath::Redirect("/a/b".into()));
        assert_eq!(with(Redirect).apply("/a%20b"), RuledPath::Same);
        assert_eq!(with(Reject).apply("/a%5Cb"), RuledPath::Rejected("path with an escaped slash"));
        assert_eq!(with(Reject).apply("/a%252Fb"), RuledPath::Same);
    }

    /// A second pass, at another proxy or after a redirect, finds nothing to do.
    #[test]
    fn what_was_ruled_stays() {
        const PARTS: [&str; 14] =
            ["/", "/", ".", "a", "%2F", "%2e", "%5c", "%41", "%25", "%32", "2F", "..", "%C3%BC", ";"];
        let mut state = 1_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..20_000 {
            let parts = (0..next(9)).map(|_| PARTS[next(14)]);
            let path: String = std::iter::once("/").chain(parts).collect();
            let escaped_slashes =
                [EscapedSlashes::Keep, EscapedSlashes::Forward, EscapedSlashes::Redirect][next(3)];
            let rules = PathRules { normalize: next(2) == 0, merge_slashes: next(2) == 0, escaped_slashes };
            if let RuledPath::Changed(ruled) | RuledPath::Redirect(ruled) = rules.apply(&path) {
                assert_eq!(rules.apply(&ruled), RuledPath::Same, "{path} by {rules:?}");
                assert!(ruled.starts_with('/'));
            }
        }
    }
}
