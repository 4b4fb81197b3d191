//! `configuration-snippet`: the directives of nginx that say no more than a filter does.

use model::{HeaderLine, HeaderModifier};
use policy::{HeadKind, header_refusal, header_value_problem};

use super::redirects;
use super::settings::Instead;
use crate::pattern;

/// What a snippet comes to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Snippet {
    pub(super) request: HeaderModifier,
    pub(super) response: HeaderModifier,
    pub(super) instead: Option<Instead>,
}

/// Reads a snippet.
///
/// # Errors
/// What of it is not served. A part of a snippet is never taken: the rest may be what protects.
pub(super) fn snippet(text: &str) -> Result<Snippet, String> {
    let mut read = Snippet::default();
    for words in directives(text)? {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        directive(&words, &mut read).map_err(|problem| format!("{:?} {problem}", words.join(" ")))?;
    }
    Ok(read)
}

/// A header with a value; it takes the place of those of the same name.
///
/// # Errors
/// Why it cannot be.
pub(crate) fn line(kind: HeadKind, name: &str, value: &str) -> Result<HeaderLine, String> {
    check_name(kind, name)?;
    match header_value_problem(value) {
        Some(problem) => Err(format!("has a value that {problem}")),
        None => Ok(HeaderLine { name: name.into(), value: value.into() }),
    }
}

fn directive(words: &[&str], read: &mut Snippet) -> Result<(), String> {
    // The URL of `return` may end with one, and is read by itself.
    if words.first() != Some(&"return") && words.iter().any(|word| word.contains('$')) {
        return Err("has a variable".to_owned());
    }
    match words {
        ["more_set_headers", lines @ ..] if !lines.is_empty() => {
            lines.iter().try_for_each(|text| set(HeadKind::Response, text, &mut read.response))
        }
        ["more_set_input_headers", lines @ ..] if !lines.is_empty() => {
            lines.iter().try_for_each(|text| set(HeadKind::Request, text, &mut read.request))
        }
        ["more_clear_headers", names @ ..] if !names.is_empty() => {
            names.iter().try_for_each(|name| remove(HeadKind::Response, name, &mut read.response))
        }
        ["proxy_hide_header", name] => remove(HeadKind::Response, name, &mut read.response),
        ["add_header", name, value] | ["add_header", name, value, "always"] => {
            read.response.add.push(line(HeadKind::Response, name, value)?);
            Ok(())
        }
        ["proxy_set_header", name, ""] => remove(HeadKind::Request, name, &mut read.request),
        ["proxy_set_header", name, value] => {
            read.request.set.push(line(HeadKind::Request, name, value)?);
            Ok(())
        }
        ["return", status] => {
            let status = status.parse().ok().filter(|status| (400..=599).contains(status));
            let status = status
                .ok_or("is served with a status from 400 to 599, or with one of a redirect and a URL")?;
            read.instead.get_or_insert(Instead::Respond(status));
            Ok(())
        }
        ["return", status @ ("301" | "302" | "303" | "307" | "308"), url] => {
            let redirect = redirects::target(url, status.parse().unwrap_or(302))?;
            read.instead.get_or_insert(Instead::Redirect(redirect));
            Ok(())
        }
        _ => Err("is not served: write filters of an HTTPRoute, or a RoutePolicy".to_owned()),
    }
}

/// `Name: value`; without a value the header is taken away.
fn set(kind: HeadKind, text: &str, modifier: &mut HeaderModifier) -> Result<(), String> {
    let (name, value) = text.split_once(':').ok_or("has no `Name: value`")?;
    match value.trim() {
        "" => remove(kind, name.trim(), modifier),
        value => {
            modifier.set.push(line(kind, name.trim(), value)?);
            Ok(())
        }
    }
}

fn remove(kind: HeadKind, name: &str, modifier: &mut HeaderModifier) -> Result<(), String> {
    check_name(kind, name)?;
    modifier.remove.push(name.into());
    Ok(())
}

/// # Errors
/// Why no header of this name can be changed.
pub(super) fn check_name(kind: HeadKind, name: &str) -> Result<(), String> {
    if !pattern::is_token(name) {
        return Err(format!("names {name:?}, which is no header"));
    }
    header_refusal(kind, name).map_or(Ok(()), |refusal| Err(format!("names {name}, which {refusal}")))
}

/// The words of each directive, as nginx reads a configuration: quotes keep a word together, `#` begins a comment.
fn directives(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (mut found, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_none() => {
                chars.by_ref().find(|c| *c == '\n');
            }
            '"' | '\'' if word.is_none() => {
                let quoted: String = chars.by_ref().take_while(|other| *other != c).collect();
                if quoted.contains('\\') {
                    return Err(format!("{quoted:?} has a backslash, which is not served"));
                }
                words.push(quoted);
            }
            '{' | '}' => return Err("has a block, which is not served".to_owned()),
            ';' => {
                words.extend(word.take());
                found.push(std::mem::take(&mut words));
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Ok(found) } else { Err(format!("{:?} has no `;` behind it", words.join(" "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_answers_are_read_and_nothing_else_is() {
        let text = "# ours\nmore_set_headers \"X-A: 1\" 'Server:';\nproxy_set_header X-B two;\nadd_header X-C 3 always;";
        let read = snippet(text).unwrap();
        assert_eq!(read.response.set, [HeaderLine { name: "X-A".into(), value: "1".into() }]);
        assert_eq!(read.response.remove, [std::sync::Arc::from("Server")]);
        assert_eq!(read.response.add, [HeaderLine { name: "X-C".into(), value: "3".into() }]);
        assert_eq!(read.request.set, [HeaderLine { name: "X-B".into(), value: "two".into() }]);
        assert_eq!(snippet("return 403;").unwrap().instead, Some(Instead::Respond(403)));
        assert!(matches!(
            snippet("return 301 https://b.test$request_uri;").unwrap().instead,
            Some(Instead::Redirect(_))
        ));
        assert_eq!(snippet(" \n# nothing\n").unwrap(), Snippet::default());
        for text in [
            "deny all;",
            "if ($http_x) { return 403; }",
            "more_set_headers \"X-A: $host\";",
            "proxy_set_header X-A $request_uri;",
            "add_header X-A $request_uri always;",
            "more_clear_headers $request_uri;",
            "return $request_uri;",
            "proxy_set_header Host b.test;",
            "more_set_headers \"X-A: 1\"",
            "return 200 \"ok\";",
            "more_set_headers -s 404 \"X-A: 1\";",
        ] {
            assert!(snippet(text).is_err(), "{text}");
        }
    }
}
