//! Filters in words. Values of headers stay out: some are secrets.

use model::{Filters, HeaderModifier};

/// What `filters` do, a line each; `whose` names the rule or backend.
pub(crate) fn lines(filters: &Filters, whose: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (modifier, what) in
        [(&filters.request_headers, "the request's head"), (&filters.response_headers, "the response's head")]
    {
        if !modifier.is_empty() {
            lines.push(format!("{whose} changes {what}: {}", changes(modifier)));
        }
    }
    lines
}

fn changes(modifier: &HeaderModifier) -> String {
    let removed = modifier.remove.iter().map(|name| format!("removes {name}"));
    let set = modifier.set.iter().map(|line| format!("sets {}", line.name));
    let added = modifier.add.iter().map(|line| format!("adds {}", line.name));
    removed.chain(set).chain(added).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use model::HeaderLine;

    use super::*;

    #[test]
    fn names_are_told_and_values_are_not() {
        let line = |name: &str| HeaderLine { name: name.into(), value: "secret".into() };
        let request_headers = HeaderModifier {
            remove: vec!["Cookie".into()],
            set: vec![line("Authorization")],
            add: vec![line("X-A")],
        };
        let filters = Filters { request_headers, ..Default::default() };
        assert_eq!(
            lines(&filters, "the rule"),
            ["the rule changes the request's head: removes Cookie, sets Authorization, adds X-A"]
        );
        assert!(lines(&Filters::default(), "the rule").is_empty());
    }
}
