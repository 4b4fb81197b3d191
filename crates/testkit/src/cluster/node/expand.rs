//! `$(VAR)` in values, commands and arguments of a container.

/// Replaces each `$(NAME)` by what `lookup` gives for it. A name it does not know stays as it is written, and `$$` is a
/// `$` that begins nothing: `$$(NAME)` gives `$(NAME)`.
///
/// Source: Kubernetes, `third_party/forked/golang/expansion/expand.go`, and the API's documentation of
/// `container.args`.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(before);
        let closed = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some((name, after)) = closed {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            after
        } else {
            out.push('$');
            after
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_escapes_kept_and_unknown_names_left_alone() {
        let lookup = |name: &str| (name == "A").then(|| "1$(A)".to_owned());
        for (text, expected) in [
            ("x-$(A)-y", "x-1$(A)-y"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1$(A)"),
            ("$(B) $(A", "$(B) $(A"),
            ("cost: 5$", "cost: 5$"),
            ("$A ${A}", "$A ${A}"),
            ("", ""),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
