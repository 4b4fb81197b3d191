//! Canaries: which requests of another Ingress go to the backend of this one.
//!
//! Source: "Canary" of the annotations of ingress-nginx; `route_to_alternative_balancer` of its rootfs/etc/nginx/lua/balancer.lua.

use std::sync::Arc;

use kube::core::ObjectMeta;
use model::{HeaderMatch, RegexAnchor, RegexPattern, ValueMatch};

use super::table::PREFIX;
use super::values::{Said, boolean};
use crate::pattern;
use crate::report::Report;

/// `canary-weight-total`, default and least.
const TOTAL: u32 = 100;
/// Values of a header or cookie that decide by themselves.
const ALWAYS: &str = "always";
const NEVER: &str = "never";

/// Which requests a canary takes: header before cookie before weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canary {
    header: Option<(Arc<str>, ByHeader)>,
    cookie: Option<Arc<str>>,
    /// Of `total`; never more.
    pub(crate) weight: u32,
    pub(crate) total: u32,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ByHeader {
    /// `always` or `never`.
    Words,
    /// This one: always.
    Value(Arc<str>),
    /// Where it matches anywhere: always.
    Pattern(Arc<str>),
}

impl Canary {
    /// Which requests are decided about whatever the weight is, and whether they are the canary's; the first counts.
    pub(crate) fn certain(&self) -> Vec<(HeaderMatch, bool)> {
        let mut found = Vec::new();
        if let Some((name, by)) = &self.header {
            let one = |value| HeaderMatch { name: Arc::clone(name), value };
            match by {
                ByHeader::Words => {
                    found.push((one(ValueMatch::Exact(ALWAYS.into())), true));
                    found.push((one(ValueMatch::Exact(NEVER.into())), false));
                }
                ByHeader::Value(value) => found.push((one(ValueMatch::Exact(Arc::clone(value))), true)),
                ByHeader::Pattern(text) => {
                    found.push((one(ValueMatch::Regex(whole(&format!("(?s:.*)(?:{text})(?s:.*)")))), true));
                }
            }
        }
        if let Some(name) = &self.cookie {
            for (value, is_canary) in [(ALWAYS, true), (NEVER, false)] {
                // Names are compared without case, as by nginx; lines of cookies are joined by a comma.
                let text = format!(r"(?s:(?:.*[;,])?\s*(?i:{name})={value}\s*(?:[;,].*)?)");
                found.push((
                    HeaderMatch { name: "cookie".into(), value: ValueMatch::Regex(whole(&text)) },
                    is_canary,
                ));
            }
        }
        found
    }
}

fn whole(text: &str) -> RegexPattern {
    RegexPattern { pattern: text.into(), anchor: RegexAnchor::Full, case_insensitive: false }
}

/// Whether an Ingress is a canary, or may have been meant to be one: what it says of its paths is nothing by itself.
pub(crate) fn is_canary(meta: &ObjectMeta) -> bool {
    asked(meta).is_some_and(|value| boolean(value) != Some(false))
}

/// The canary that an Ingress is, if it is one. What cannot be draws no requests.
pub(crate) fn of(meta: &ObjectMeta, report: &mut Report<'_>) -> Option<Canary> {
    let value = asked(meta)?;
    let is_canary = boolean(value);
    let mut said = Said::new(meta, report);
    if is_canary.is_none() {
        let message = format!(
            "{value:?} is neither \"true\" nor \"false\", so the Ingress takes no requests: it may have been meant to take some of another one's"
        );
        said.bad("canary", message);
    }
    is_canary?.then(|| read(&mut said))
}

fn asked(meta: &ObjectMeta) -> Option<&str> {
    let value = meta.annotations.as_ref()?.get(&format!("{PREFIX}canary"))?.trim();
    (!value.is_empty()).then_some(value)
}

fn read(said: &mut Said<'_, '_, '_>) -> Canary {
    let nothing = "so it draws no requests";
    let total = said.number("canary-weight-total", &format!("so it is {TOTAL}"));
    let total = total.and_then(Result::ok).unwrap_or(TOTAL).max(TOTAL);
    let weight = said.number("canary-weight", nothing).and_then(Result::ok).unwrap_or(0).min(total);
    let cookie = said.text("canary-by-cookie").filter(|name| {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if !is_name {
            let message = format!("{name:?} is no name of letters, digits, '-' and '_', {nothing}");
            said.bad("canary-by-cookie", message);
        }
        is_name
    });
    // Nothing in such a name means anything in a pattern but '-', and that only between brackets.
    Canary { header: header(said, nothing), cookie: cookie.map(Into::into), weight, total }
}

fn header(said: &mut Said<'_, '_, '_>, nothing: &str) -> Option<(Arc<str>, ByHeader)> {
    let name = said.text("canary-by-header")?;
    if !pattern::is_token(name) {
        said.bad("canary-by-header", format!("{name:?} is no name of a header, {nothing}"));
        return None;
    }
    let by = match (said.text("canary-by-header-value"), said.text("canary-by-header-pattern")) {
        (Some(value), _) => ByHeader::Value(value.into()),
        (None, Some(text)) => {
            if let Err(error) = route::check_pattern(&whole(text)) {
                said.bad("canary-by-header-pattern", format!("{text:?} {error}, {nothing}"));
                return None;
            }
            ByHeader::Pattern(text.into())
        }
        (None, None) => ByHeader::Words,
    };
    Some((name.to_ascii_lowercase().into(), by))
}

#[cfg(test)]
mod tests {
    use model::ObjectKind;

    use super::*;

    fn canary(annotations: &[(&str, &str)]) -> (Canary, usize) {
        let all = annotations.iter().chain(&[("canary", "true")]);
        let all = all.map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect();
        let meta = ObjectMeta { annotations: Some(all), ..ObjectMeta::default() };
        let key = model::ObjectRef::new(ObjectKind::Ingress, "default", "canary");
        let mut said = Vec::new();
        let read = of(&meta, &mut Report::new(&key, &mut said)).unwrap();
        (read, said.len())
    }

    /// What the certain ones say of a request, with the matcher's own reading of patterns.
    fn decided(canary: &Canary, name: &str, value: &str) -> Option<bool> {
        let is = |one: &HeaderMatch| {
            *one.name == *name
                && match &one.value {
                    ValueMatch::Exact(text) => **text == *value,
                    ValueMatch::Regex(pattern) => {
                        let (pattern, replacement) = (pattern.clone(), "".into());
                        let captures = route::Captures::new(&model::CaptureRewrite { pattern, replacement });
                        captures.unwrap().rewritten(value).is_some()
                    }
                }
        };
        canary.certain().iter().find(|(one, _)| is(one)).map(|(_, is_canary)| *is_canary)
    }

    #[test]
    fn headers_and_cookies_decide_as_in_ingress_nginx() {
        let (words, _) = canary(&[("canary-by-header", "X-Canary"), ("canary-by-cookie", "new_shop")]);
        for (name, value, expected) in [
            ("x-canary", "always", Some(true)),
            ("x-canary", "never", Some(false)),
            ("x-canary", "Always", None),
            ("cookie", "new_shop=always", Some(true)),
            ("cookie", "a=b; NEW_SHOP=never; c=d", Some(false)),
            ("cookie", "a=b,new_shop=always", Some(true)),
            ("cookie", "my_new_shop=always", None),
            ("cookie", "new_shop=always2", None),
        ] {
            assert_eq!(decided(&words, name, value), expected, "{name}: {value}");
        }
        let (value, _) = canary(&[("canary-by-header", "r"), ("canary-by-header-value", "eu")]);
        assert_eq!((decided(&value, "r", "eu"), decided(&value, "r", "always")), (Some(true), None));
        let (pattern, _) = canary(&[("canary-by-header", "r"), ("canary-by-header-pattern", "^eu|us$")]);
        let matched = ["eu-1", "x-us", "x-eu"].map(|value| decided(&pattern, "r", value));
        assert_eq!(matched, [Some(true), Some(true), None]);
    }

    #[test]
    fn what_cannot_be_draws_nothing() {
        for (annotations, problems) in [
            (&[("canary-weight", "x")][..], 1),
            (&[("canary-by-header", "a b")], 1),
            (&[("canary-by-header", "a"), ("canary-by-header-pattern", "(")], 1),
            (&[("canary-by-cookie", "a|b")], 1),
            (&[], 0),
        ] {
            let (read, said) = canary(annotations);
            assert_eq!((read.weight, read.certain().len(), said), (0, 0, problems), "{annotations:?}");
        }
        let (read, _) = canary(&[("canary-weight", "700"), ("canary-weight-total", "500")]);
        assert_eq!((read.weight, read.total), (500, 500));
    }
}
