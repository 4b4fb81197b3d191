use model::CaptureRewrite;
use regex::bytes::Regex;

use crate::pattern::{PatternError, compile};

/// Puts groups of a path into another one.
#[derive(Clone, Debug)]
pub struct Captures {
    regex: Regex,
    replacement: Box<str>,
}

impl Captures {
    /// Compiles it.
    ///
    /// # Errors
    /// As [`crate::check_pattern`].
    pub fn new(rewrite: &CaptureRewrite) -> Result<Self, PatternError> {
        Ok(Self { regex: compile(&rewrite.pattern)?, replacement: (&*rewrite.replacement).into() })
    }

    /// What `path` becomes, which begins with a slash; behind a `?` the beginning of a query may follow. None: the path does not
    /// match, and stays as it is.
    ///
    /// Source: `rewrite` of ngx_http_rewrite_module: the whole path becomes the replacement, in which `$1` to `$9` stand for groups.
    pub fn rewritten(&self, path: &str) -> Option<String> {
        let found = self.regex.captures(path.as_bytes())?;
        let mut out = String::with_capacity(path.len() + self.replacement.len());
        let mut pieces = self.replacement.split('$');
        out.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let digit = piece.bytes().next().filter(u8::is_ascii_digit);
            let group = digit.and_then(|digit| found.get(usize::from(digit - b'0')));
            // A group of bytes may end within a character, where `get` says so.
            out.push_str(group.and_then(|group| path.get(group.range())).unwrap_or_default());
            out.push_str(if digit.is_some() { &piece[1..] } else { piece });
        }
        if !out.starts_with('/') {
            out.insert(0, '/');
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use model::{RegexAnchor, RegexPattern};

    use super::*;

    #[test]
    fn groups_go_where_the_replacement_names_them() {
        for (pattern, replacement, path, expected) in [
            ("/something(/|$)(.*)", "/$2", "/something/new", Some("/new")),
            ("/something(/|$)(.*)", "/$2", "/something", Some("/")),
            ("/something(/|$)(.*)", "/$2", "/SOMETHING/a%20b", Some("/a%20b")),
            ("/a/(.*)", "$1", "/a/b", Some("/b")),
            ("/a(/.*)", "$1", "/a/b", Some("/b")),
            ("/u/([0-9]+)", "/user?id=$1", "/u/7", Some("/user?id=7")),
            ("/a", "/$1x", "/a", Some("/x")),
            ("/a", "/b", "/c", None),
        ] {
            let pattern =
                RegexPattern { pattern: pattern.into(), anchor: RegexAnchor::Start, case_insensitive: true };
            let captures =
                Captures::new(&CaptureRewrite { pattern, replacement: replacement.into() }).unwrap();
            assert_eq!(captures.rewritten(path).as_deref(), expected, "{path}");
        }
    }
}
