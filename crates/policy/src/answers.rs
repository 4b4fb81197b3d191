//! What endpoints say of places in their answers, put in the words of clients: `proxy_redirect` and `proxy_cookie_*` of nginx.

use model::Replacement;

/// The value of a `Location` whose beginning is replaced; none: it begins in another way.
pub fn replaced_location(value: &[u8], said: &Replacement) -> Option<Vec<u8>> {
    let rest = value.strip_prefix(said.from.as_bytes())?;
    Some([said.to.as_bytes(), rest].concat())
}

/// The value of a `Set-Cookie` with another path or domain; none: it stays. Of a path the beginning is replaced; a domain as a whole,
/// without regard to case and to a dot before it.
pub fn replaced_cookie(
    value: &[u8],
    path: Option<&Replacement>,
    domain: Option<&Replacement>,
) -> Option<Vec<u8>> {
    let mut is_changed = false;
    let mut out = Vec::with_capacity(value.len());
    for (i, part) in value.split(|&byte| byte == b';').enumerate() {
        if i > 0 {
            out.push(b';');
        }
        // The first part is the cookie itself.
        let other = (i > 0).then(|| attribute(part, path, domain)).flatten();
        is_changed |= other.is_some();
        out.extend_from_slice(other.as_deref().unwrap_or(part));
    }
    is_changed.then_some(out)
}

/// An attribute with another value; none: it stays.
fn attribute(part: &[u8], path: Option<&Replacement>, domain: Option<&Replacement>) -> Option<Vec<u8>> {
    let equals = part.iter().position(|&byte| byte == b'=')?;
    let (name, value) = part.split_at_checked(equals + 1)?;
    let bare = value.trim_ascii();
    let key = name.strip_suffix(b"=")?.trim_ascii();
    let new = if key.eq_ignore_ascii_case(b"path") {
        replaced_location(bare, path?)?
    } else if key.eq_ignore_ascii_case(b"domain") {
        let said = domain?;
        let without_dot = |name: &[u8]| name.strip_prefix(b".").unwrap_or(name).to_ascii_lowercase();
        let is_it = without_dot(bare) == without_dot(said.from.as_bytes());
        is_it.then(|| said.to.as_bytes().to_vec())?
    } else {
        return None;
    };
    Some([name, &new].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str) -> Replacement {
        Replacement { from: from.into(), to: to.into() }
    }

    #[test]
    fn the_beginning_of_a_location_is_replaced() {
        let said = pair("http://inner.test/app/", "https://shop.test/");
        for (value, expected) in [
            ("http://inner.test/app/a?b", Some("https://shop.test/a?b")),
            ("http://inner.test/app/", Some("https://shop.test/")),
            ("http://inner.test/other", None),
            ("/app/", None),
        ] {
            let found = replaced_location(value.as_bytes(), &said);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn paths_and_domains_of_cookies_are_replaced_and_nothing_else() {
        let (path, domain) = (pair("/app/", "/"), pair("inner.test", "shop.test"));
        for (value, expected) in [
            ("a=1; Path=/app/x; HttpOnly", Some("a=1; Path=/x; HttpOnly")),
            ("a=1;path=/app/;domain=.Inner.Test", Some("a=1;path=/;domain=shop.test")),
            ("a=1; Domain=sub.inner.test; Path=/other", None),
            // What the cookie holds is no attribute.
            ("path=/app/; Secure", None),
            ("a=1; Comment=Path=/app/", None),
            ("a=1", None),
            ("", None),
            ("a=1; Path", None),
        ] {
            let found = replaced_cookie(value.as_bytes(), Some(&path), Some(&domain));
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{value}");
            assert_eq!(replaced_cookie(value.as_bytes(), None, None), None);
        }
        // More attributes come with the path, as users of nginx do it.
        let secure = pair("/", "/; Secure");
        let found = replaced_cookie(b"a=1; Path=/x", Some(&secure), None);
        assert_eq!(found.as_deref(), Some(&b"a=1; Path=/; Securex"[..]), "as nginx does");
    }
}
