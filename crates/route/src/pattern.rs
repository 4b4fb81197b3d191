use model::{RegexAnchor, RegexPattern};
use regex::bytes::{Regex, RegexBuilder};

/// Memory that a compiled pattern may take; larger ones are refused, so that a route cannot eat the gateway's memory.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Memory for the states that a pattern's automaton keeps between uses, per thread.
const CACHE_BYTES_MAX: usize = 256 << 10;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("is no regular expression that can be used: {0}")]
pub struct PatternError(regex::Error);

/// Checks that `pattern` compiles as the matcher would compile it.
///
/// # Errors
/// [`PatternError`] says where the syntax is wrong, or that the compiled pattern is over 1 MiB.
pub fn check_pattern(pattern: &RegexPattern) -> Result<(), PatternError> {
    compile(pattern).map(drop)
}

/// Compiles `pattern` with its anchors.
pub(crate) fn compile(pattern: &RegexPattern) -> Result<Regex, PatternError> {
    // Alone first: within the group below `a)|(b` would pass, and match more than it says.
    build(&pattern.pattern, pattern.case_insensitive)?;
    let end = match pattern.anchor {
        RegexAnchor::Full => r"\z",
        RegexAnchor::Start => "",
    };
    build(&format!(r"\A(?:{}){end}", pattern.pattern), pattern.case_insensitive)
}

/// The text that everything a pattern matches begins with; perhaps shorter than it could be.
///
/// Comparing it first spares most regular expressions most of their work.
pub(crate) fn literal_prefix(pattern: &RegexPattern) -> &str {
    let text = &*pattern.pattern;
    if pattern.case_insensitive || text.contains('|') {
        return "";
    }
    // Outside of classes and of `(?x)` nothing else is special.
    let end = text.find(|c: char| r"\.+*?()[]{}^$".contains(c)).unwrap_or(text.len());
    let repeats = text[end..].starts_with(['*', '?', '{', '+']);
    // A repetition binds the character before it.
    let last = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
    &text[..if repeats { last } else { end }]
}

fn build(pattern: &str, case_insensitive: bool) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .case_insensitive(case_insensitive)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
        .map_err(PatternError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, anchor: RegexAnchor, case_insensitive: bool) -> RegexPattern {
        RegexPattern { pattern: text.into(), anchor, case_insensitive }
    }

    fn full(text: &str) -> Regex {
        compile(&pattern(text, RegexAnchor::Full, false)).unwrap()
    }

    #[test]
    fn full_patterns_cover_all_of_the_text() {
        assert!(full("/a|/b").is_match(b"/b"));
        assert!(!full("/a|/b").is_match(b"/bc"));
        assert!(!full("/a|/b").is_match(b"x/a"));
        assert!(!full("(?m)/a$").is_match(b"/a\n/b"));
    }

    #[test]
    fn start_patterns_cover_the_start() {
        let regex = compile(&pattern("/a|/b", RegexAnchor::Start, true)).unwrap();
        assert!(regex.is_match(b"/Bcd"));
        assert!(!regex.is_match(b"x/b"));
    }

    #[test]
    fn a_pattern_must_be_sound_alone() {
        let error = check_pattern(&pattern("a)|(b", RegexAnchor::Full, false)).unwrap_err();
        assert!(error.to_string().contains("unopened group"), "{error}");
        assert!(check_pattern(&pattern("(a", RegexAnchor::Start, false)).is_err());
    }

    #[test]
    fn a_pattern_that_compiles_to_too_much_is_refused() {
        let error = check_pattern(&pattern(r"(\w{100}){100}", RegexAnchor::Full, false)).unwrap_err();
        assert!(error.to_string().contains("size limit"), "{error}");
    }

    #[test]
    fn the_literal_prefix_is_what_every_match_begins_with() {
        for (text, prefix) in [
            ("/api/v[0-9]+", "/api/v"),
            ("/api", "/api"),
            ("/ab*c", "/a"),
            ("/é?", "/"),
            ("/a{2}", "/"),
            ("/a|/b", ""),
            ("^/a", ""),
            ("(?i)/a", ""),
            ("*", ""),
        ] {
            assert_eq!(literal_prefix(&pattern(text, RegexAnchor::Full, false)), prefix, "{text}");
        }
        assert_eq!(literal_prefix(&pattern("/api", RegexAnchor::Full, true)), "");
    }

    #[test]
    fn what_is_special_in_classes_only_is_part_of_the_literal_prefix() {
        for (text, prefix) in
            [("/service-7/[0-9]+", "/service-7/"), ("/a b&c#d~e-f(x)?", "/a b&c#d~e-f"), ("/a-?", "/a")]
        {
            assert_eq!(literal_prefix(&pattern(text, RegexAnchor::Full, false)), prefix, "{text}");
        }
        // As the regular expressions see it.
        assert!(full("/a b&c#d~e-f").is_match(b"/a b&c#d~e-f"));
    }
}
