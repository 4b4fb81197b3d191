use crate::RequestError;

/// A request target in its parts (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) form: Form,
    /// From an absolute-form target, as sent.
    pub(crate) authority: Option<&'a str>,
    /// `/…`, or `*`; empty in an absolute-form target without path.
    pub(crate) path: &'a str,
    /// What follows the first `?`.
    pub(crate) query: Option<&'a str>,
}

/// The forms that a gateway serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`, of OPTIONS only
    Asterisk,
}

/// Splits a target that the scanner let through.
///
/// # Errors
/// [`RequestError::TargetForm`].
pub(crate) fn split_target<'a>(target: &'a str, method: &[u8]) -> Result<Target<'a>, RequestError> {
    if target.starts_with('/') {
        let (path, query) = split_query(target);
        return Ok(Target { form: Form::Origin, authority: None, path, query });
    }
    if target == "*" && method == b"OPTIONS" {
        return Ok(Target { form: Form::Asterisk, authority: None, path: target, query: None });
    }
    let rest = strip_scheme(target).ok_or(RequestError::TargetForm)?;
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(authority_end).ok_or(RequestError::TargetForm)?;
    let (path, query) = split_query(rest);
    Ok(Target { form: Form::Absolute, authority: Some(authority), path, query })
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let front = target.get(..SCHEME.len())?;
    if front.eq_ignore_ascii_case(SCHEME) { target.get(SCHEME.len()..) } else { None }
}
