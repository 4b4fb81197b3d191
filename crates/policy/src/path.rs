use model::PathRewrite;

/// Writes what `path` becomes. What is no path (`*` of OPTIONS) stays as it is.
///
/// The part behind a replaced prefix goes on as the bytes that came; exactly one slash is between the two. Source: the
/// table in HTTPPathModifier.replacePrefixMatch (Gateway API v1.6.1).
pub fn write_path(rewrite: &PathRewrite, path: &str, out: &mut String) {
    if !path.starts_with('/') {
        out.push_str(path);
        return;
    }
    match rewrite {
        PathRewrite::Full(full) => out.push_str(full),
        PathRewrite::Prefix { matched, replacement } => {
            let rest = path.strip_prefix(&**matched).unwrap_or(path);
            match (rest, &**replacement) {
                ("", "") => out.push('/'),
                ("", replacement) => out.push_str(replacement),
                (rest, replacement) => {
                    out.push_str(replacement.strip_suffix('/').unwrap_or(replacement));
                    if !rest.starts_with('/') {
                        out.push('/');
                    }
                    out.push_str(rest);
                }
            }
        }
    }
}

/// Why `path` can be no path to rewrite to; none: it can. A prefix may be empty.
pub fn path_problem(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        Some("must start with '/'")
    } else if path.contains(['?', '#']) {
        Some("may hold neither '?' nor '#': the query stays as it came")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("may hold printable ASCII only: percent-encode the rest")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(rewrite: &PathRewrite, path: &str) -> String {
        let mut out = String::new();
        write_path(rewrite, path, &mut out);
        out
    }

    #[test]
    fn every_slash_case_of_the_gateway_api() {
        for (path, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            // Not in the table.
            ("/foo", "/foo", "/xyz/", "/xyz/"),
            ("/foo//bar%2F", "/foo", "/xyz", "/xyz//bar%2F"),
            ("/bar", "", "/xyz", "/xyz/bar"),
            ("/", "", "/xyz", "/xyz/"),
            ("/bar", "", "/", "/bar"),
        ] {
            let rewrite = PathRewrite::Prefix { matched: matched.into(), replacement: replacement.into() };
            assert_eq!(rewritten(&rewrite, path), expected, "{path} {matched} {replacement}");
        }
    }

    #[test]
    fn a_full_path_replaces_any_and_what_is_no_path_stays() {
        let full = PathRewrite::Full("/one".into());
        assert_eq!(rewritten(&full, "/any/other"), "/one");
        assert_eq!(rewritten(&full, "*"), "*");
    }

    #[test]
    fn paths_that_no_request_may_have_are_told() {
        assert_eq!(path_problem("/a%20b/"), None);
        for bad in ["", "a", "/a?b", "/a#b", "/a b", "/\u{e9}", "/a\r\nb"] {
            assert!(path_problem(bad).is_some(), "{bad:?}");
        }
    }
}
