//! What endpoints say of places in their answers, in the words of clients.

use model::{AnswerRewrites, Replacement};
use policy::header_value_problem;

use super::values::Said;

/// What follows a problem with any of them.
const STAYS: &str = "so it has no effect";

/// What becomes of `Location` and of cookies.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Box<AnswerRewrites>> {
    let read = AnswerRewrites {
        location: location(said),
        cookie_path: pair(said, "proxy-cookie-path", "/app/ /"),
        cookie_domain: pair(said, "proxy-cookie-domain", "inner.example shop.example"),
    };
    (!read.is_empty()).then(|| Box::new(read))
}

fn location(said: &mut Said<'_, '_, '_>) -> Option<Replacement> {
    let (from, to) = (said.text("proxy-redirect-from"), said.text("proxy-redirect-to"));
    let (from, to) = match (from, to) {
        (None | Some("off"), None | Some("off")) | (Some("off"), _) => return None,
        (Some("default"), _) => {
            said.left_out(
                "proxy-redirect-from",
                "\"default\" has no effect: write what Location begins with",
            );
            return None;
        }
        (Some(from), Some(to)) => (from, to),
        (Some(_), None) => {
            said.bad("proxy-redirect-from", format!("is without proxy-redirect-to, {STAYS}: write both"));
            return None;
        }
        (None, Some(_)) => {
            said.bad("proxy-redirect-to", format!("is without proxy-redirect-from, {STAYS}: write both"));
            return None;
        }
    };
    let read = [("proxy-redirect-from", from), ("proxy-redirect-to", to)].map(|(name, text)| {
        plain(text).map_err(|problem| said.bad(name, format!("{text:?} {problem}, {STAYS}"))).ok()
    });
    let [Some(from), Some(to)] = read else { return None };
    Some(Replacement { from: from.into(), to: to.into() })
}

/// Two words: what is replaced, and by what.
fn pair(said: &mut Said<'_, '_, '_>, name: &str, example: &str) -> Option<Replacement> {
    let text = said.text(name).filter(|text| *text != "off")?;
    let read = words(text).and_then(|(from, to)| Some((plain(from).ok()?, plain(to).ok()?)));
    let Some((from, to)) = read.filter(|(from, _)| !from.is_empty()) else {
        let message = format!(
            "{text:?} is not what to replace and by what, without variables and patterns, {STAYS}: write {example:?}"
        );
        said.bad(name, message);
        return None;
    };
    Some(Replacement { from: from.into(), to: to.into() })
}

/// The two words of a text, of which the second may stand in quotes and then hold spaces.
fn words(text: &str) -> Option<(&str, &str)> {
    let (from, to) = text.split_once(char::is_whitespace)?;
    let to = to.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| to.strip_prefix(quote)?.strip_suffix(quote));
    let has_one = !to.contains(char::is_whitespace) && !to.starts_with(['"', '\'']);
    quoted.or(has_one.then_some(to)).map(|to| (from, to))
}

/// A text that stands for itself.
///
/// # Errors
/// Why it does not.
fn plain(text: &str) -> Result<&str, &'static str> {
    if text.starts_with('~') {
        Err("is a pattern")
    } else if text.contains('$') {
        Err("has a variable")
    } else {
        header_value_problem(text).map_or(Ok(text), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_stand_in_quotes() {
        for (text, expected) in [
            ("/app/ /", Some(("/app/", "/"))),
            ("/  /;Secure", Some(("/", "/;Secure"))),
            ("/ \"/; Secure; HttpOnly\"", Some(("/", "/; Secure; HttpOnly"))),
            ("/ '/x'", Some(("/", "/x"))),
            ("/", None),
            ("/a /b /c", None),
            ("/a \"/b", None),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
