//! What must hold whatever a client, a proxy in front or a user's file says. The fuzz targets in `fuzz/` and the replay of
//! their corpora call the same functions; each panics where a rule is broken.
#![allow(dead_code, reason = "each user calls its part")]

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::ContentCoding;
use policy::{
    CheckCost, Credentials, EscapedSlashes, Htpasswd, Origin, PathRules, RuledPath, SessionToken,
    TraceContext, cookie_values, preferred_coding,
};

/// The peer's address in the first line, then the lines of `X-Forwarded-For`: who is not trusted is not believed, how the list
/// is cut into lines does not count, and nobody gets another address by what he writes in front of what a trusted proxy wrote.
pub(crate) fn client_address(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let peer = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse::<IpAddr>().ok());
    let Some(peer) = peer else { return };
    let lines: Vec<&[u8]> = lines.collect();
    let found = policy::client_address(peer, is_trusted, lines.iter().copied());
    if !is_trusted(peer.to_canonical()) {
        return assert_eq!(found, Some(peer.to_canonical()), "a stranger is believed");
    }
    let joined = lines.join(&b',');
    assert_eq!(policy::client_address(peer, is_trusted, [&joined[..]]), found, "in one line");
    if let Some(found) = found {
        assert_eq!(found, found.to_canonical());
        let is_named = joined.split(|byte| *byte == b',').any(|element| names(element, found));
        assert!(found == peer.to_canonical() || is_named, "{found} is in no line");
    }
    // A stranger ends the walk: what he wrote himself stands before his address.
    let stranger: IpAddr = [198, 51, 100, 7].into();
    let behind: Vec<&[u8]> = lines.iter().copied().chain([&b"198.51.100.7, 10.0.0.3"[..]]).collect();
    assert_eq!(policy::client_address(peer, is_trusted, behind), Some(stranger));
    if found.is_none_or(|found| !is_trusted(found)) {
        let before: Vec<&[u8]> = [&b"192.0.2.66"[..]].into_iter().chain(lines.iter().copied()).collect();
        assert_eq!(policy::client_address(peer, is_trusted, before), found, "forged");
    }
}

fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    }
}

/// Whether `element` is that address, with a port or without.
fn names(element: &[u8], address: IpAddr) -> bool {
    let Ok(text) = std::str::from_utf8(element) else { return false };
    let text = text.trim_ascii();
    let (host, _) = text.rsplit_once(':').unwrap_or((text, ""));
    [text, host].iter().any(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok_and(|read| read.to_canonical() == address)
    })
}

/// A `traceparent` line: what is read is written as it came, but for what this version does not know.
pub(crate) fn trace_context(data: &[u8]) {
    let Some(context) = TraceContext::parse(data) else { return };
    assert!(context.trace != 0 && context.span != 0);
    let written = context.to_string();
    assert_eq!(TraceContext::parse(written.as_bytes()), Some(context));
    assert!(written.is_ascii() && written.len() == 55);
    assert_eq!((&written.as_bytes()[3..52], &data[..2] == b"ff"), (&data[3..52], false));
    let next = context.of_span(7);
    assert_eq!((next.trace, next.span, next.is_sampled()), (context.trace, 7, context.is_sampled()));
}

/// An htpasswd file: mistakes are named by their line and never by the text, which is a secret; who is no user of it is not let in;
/// a user that is added to it is.
pub(crate) fn htpasswd(data: &[u8]) {
    // Of `htpasswd -nbs added secret`.
    const ADDED: &str = "added:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ask = |file: &Htpasswd, user: &str, password: &str| {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Credentials::read(value.as_bytes()).is_some_and(|credentials| file.lets_in(&credentials))
    };
    if let Err(error) = Htpasswd::parse(text) {
        let said = error.to_string();
        let is_placed = (1..=text.lines().count()).any(|line| said.contains(&format!("line {line} ")));
        assert!(is_placed || error == policy::HtpasswdError::Empty, "{said}");
        let is_hash = |part: &&str| part.len() > 20 && !part.contains(' ');
        let secrets = text.split([':', '\n', '$']).filter(is_hash);
        secrets.for_each(|part| assert!(!said.contains(part), "{said} tells a secret"));
    }
    // Bcrypt takes long by design.
    if let Ok(file) = Htpasswd::parse(&format!("{text}\n{ADDED}"))
        && file.cost() == CheckCost::Low
    {
        assert!(ask(&file, "added", "secret"));
        assert!(!ask(&file, "added", "Secret") && !ask(&file, "nobody else", "secret"));
    }
    credentials(data);
}

/// The value of an `Authorization` line: what is read is written as a line that says the same.
fn credentials(data: &[u8]) {
    let Some(read) = Credentials::read(data) else { return };
    assert!(!read.user.contains(':'));
    let text = [read.user.as_bytes(), b":", &read.password].concat();
    assert_eq!(Credentials::read(format!("bAsIc {}", STANDARD.encode(text)).as_bytes()), Some(read));
}

/// A cookie's name in the first line, then a `Cookie` line: one more cookie is one more value; no value holds what ends one. And 17 bytes
/// of a session's token.
pub(crate) fn cookies(data: &[u8]) {
    if let Ok(bytes) = data.try_into()
        && let Some(token) = SessionToken::from_bytes(bytes)
    {
        assert_eq!(&token.to_bytes(), bytes);
    }
    let (name, line) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let Ok(name) = std::str::from_utf8(name) else { return };
    if name.is_empty() || !name.bytes().all(http_token) {
        return;
    }
    let found: Vec<&[u8]> = cookie_values(line, name).collect();
    for value in &found {
        assert!(!value.contains(&b';'));
        assert!(value.is_empty() || line.windows(value.len()).any(|part| part == *value));
    }
    let more = [line, b"; ", name.as_bytes(), b"=v1;", name.as_bytes(), b"x=v2"].concat();
    let more: Vec<&[u8]> = cookie_values(&more, name).collect();
    assert_eq!(more.split_last(), Some((&&b"v1"[..], &found[..])));
}

/// Lines of `Accept-Encoding`: how the list is cut into lines and the case of names do not count; nothing is chosen that no line names, nor
/// what a last word refuses.
pub(crate) fn accept_encoding(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let choose = |lines: &[&[u8]]| preferred_coding(ContentCoding::ALL.into_iter(), lines.iter().copied());
    let chosen = choose(&lines);
    let joined = lines.join(&b',');
    assert_eq!(choose(&[&joined]), chosen, "in one line");
    assert_eq!(choose(&[&joined.to_ascii_lowercase()]), chosen, "in lower case");
    let Some(coding) = chosen else { return };
    let name = coding.token();
    let is_meant = |part: &[u8]| {
        let lower = part.trim_ascii().to_ascii_lowercase();
        // RFC 9110 section 8.4.1.3: `x-gzip` is gzip.
        lower.starts_with(b"*") || lower.strip_prefix(b"x-").unwrap_or(&lower).starts_with(name.as_bytes())
    };
    assert!(joined.split(|byte| *byte == b',').any(is_meant), "{name} by nobody");
    let refused = format!("{name};q=0");
    let with_refusal: Vec<&[u8]> = lines.iter().copied().chain([refused.as_bytes()]).collect();
    assert_ne!(choose(&with_refusal), Some(coding), "refused");
}

/// RFC 9110 section 5.6.2.
fn http_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Rules in the first byte, then a path: what they make of it has one spelling, and asked again they find nothing to do. The rest as
/// an origin: what is read covers itself.
pub(crate) fn paths(data: &[u8]) {
    let Some((&bits, rest)) = data.split_first() else { return };
    // The head's scanner lets through what is visible, and bytes above.
    let Some(path) = std::str::from_utf8(rest).ok().filter(|text| text.bytes().all(|byte| byte > b' '))
    else {
        return;
    };
    origin(path);
    let escaped_slashes = match bits >> 2 & 3 {
        0 => EscapedSlashes::Keep,
        1 => EscapedSlashes::Forward,
        2 => EscapedSlashes::Redirect,
        _ => EscapedSlashes::Reject,
    };
    let rules = PathRules { normalize: bits & 1 != 0, merge_slashes: bits & 2 != 0, escaped_slashes };
    let ruled = match rules.apply(path) {
        RuledPath::Rejected(_) => return,
        RuledPath::Same => path.to_owned(),
        RuledPath::Changed(ruled) | RuledPath::Redirect(ruled) => ruled,
    };
    assert_eq!(rules.apply(&ruled), RuledPath::Same, "{path} by {rules:?}");
    assert_eq!(ruled.starts_with('/'), path.starts_with('/'));
    assert!(ruled.len() <= path.len() && ruled.bytes().all(|byte| byte > b' '));
    if !ruled.starts_with('/') {
        return;
    }
    let lower = ruled.to_ascii_lowercase();
    if rules.normalize {
        let decoded = lower.replace("%2e", ".");
        assert!(!decoded.split('/').any(|segment| matches!(segment, "." | "..")), "{path} became {ruled}");
    }
    assert!(!rules.merge_slashes || !ruled.contains("//"), "{path} became {ruled}");
    assert!(
        escaped_slashes == EscapedSlashes::Keep || !(lower.contains("%2f") || lower.contains("%5c")),
        "{path} became {ruled}"
    );
}

fn origin(text: &str) {
    if let Some(sent) = Origin::parse_sent(text) {
        assert!(sent.covers(&sent), "{text}");
        assert!(Origin::parse_sent(&text.to_ascii_uppercase()).is_some_and(|upper| upper.covers(&sent)));
        let allowed = Origin::parse(text);
        assert!(allowed.is_none_or(|allowed| text.contains('*') || allowed.covers(&sent)), "{text}");
    }
}
