use crate::yaml::{Content, Node};

/// The place of the field `path` (as in `spec.rules[0].matches` or `metadata.annotations[rauta.io/tier]`) below `node`:
/// line and column of its key or item. Of a field that is not there: those of the closest one around it.
pub(crate) fn find(node: &Node, path: &str) -> (u32, u32) {
    let mut place = (node.line, node.column);
    let mut at = node;
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = first_step(rest);
        rest = after;
        let next = match &at.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == step).map(|entry| {
                place = (entry.line, entry.column);
                &entry.value
            }),
            Content::List(items) => {
                step.parse::<usize>().ok().and_then(|index| items.get(index)).inspect(|item| {
                    place = (item.line, item.column);
                })
            }
            Content::Scalar(_) => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    place
}

fn first_step(path: &str) -> (&str, &str) {
    if let Some(inner) = path.strip_prefix('[') {
        let (step, rest) = inner.split_once(']').unwrap_or((inner, ""));
        return (step, rest.strip_prefix('.').unwrap_or(rest));
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (step, rest) = path.split_at(end);
    (step, rest.strip_prefix('.').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn fields_are_found_by_path() {
        let text =
            "metadata:\n  annotations:\n    rauta.io/tier: '1'\nspec:\n  rules:\n  - a: 1\n  - b: {c: 2}\n";
        let node = yaml::documents(text).remove(0).unwrap();
        let cases = [
            ("metadata.annotations[rauta.io/tier]", (3, 5)),
            ("spec.rules[0].a", (6, 5)),
            ("spec.rules[1].b.c", (7, 9)),
            ("spec.rules[1].b.missing", (7, 5)),
            ("spec.rules[7].b", (5, 3)),
            ("", (1, 1)),
        ];
        for (path, expected) in cases {
            assert_eq!(find(&node, path), expected, "{path}");
        }
    }
}
