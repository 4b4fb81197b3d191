//! Values of annotations.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use model::Reason;

use super::table::PREFIX;
use crate::report::Report;

/// The annotations of one Ingress, and whom to tell what is wrong with them.
pub(super) struct Said<'a, 'r, 'd> {
    values: BTreeMap<&'a str, &'a str>,
    pub(super) report: &'r mut Report<'d>,
}

impl<'a, 'r, 'd> Said<'a, 'r, 'd> {
    pub(super) fn new(meta: &'a ObjectMeta, report: &'r mut Report<'d>) -> Self {
        let all = meta.annotations.iter().flatten();
        let values = all.filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim()))).collect();
        Self { values, report }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.values.iter().map(|(name, value)| (*name, *value)).collect::<Vec<_>>().into_iter()
    }

    /// What is said; none: nothing, or nothing of any length.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).copied().filter(|value| !value.is_empty())
    }

    /// Whether it is `"true"`. What is neither that nor `"false"` is reported.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.text(name)?;
        let flag = boolean(value);
        if flag.is_none() {
            self.bad(name, format!("{value:?} is neither \"true\" nor \"false\", so it has no effect"));
        }
        flag
    }

    /// A whole number; the outer none: nothing is said. What is none is reported with `outcome`.
    pub(super) fn number(&mut self, name: &str, outcome: &str) -> Option<Result<u32, ()>> {
        let value = self.text(name)?;
        let read = value.parse::<u32>();
        if read.is_err() {
            self.bad(name, format!("{value:?} is no whole number, {outcome}"));
        }
        Some(read.map_err(|_| ()))
    }

    /// The parts of a list with commas.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&'a str>> {
        let parts = self.text(name)?.split(',').map(str::trim);
        Some(parts.filter(|part| !part.is_empty()).collect())
    }

    /// Reports a value that cannot be.
    pub(super) fn bad(&mut self, name: &str, message: impl Into<String>) {
        self.report.invalid(field(name), message);
    }

    /// Reports what is left out.
    pub(super) fn left_out(&mut self, name: &str, message: impl Into<String>) {
        self.report.warning(Reason::Unsupported, field(name), message);
    }
}

/// How diagnostics name an annotation.
pub(crate) fn field(name: &str) -> String {
    format!("metadata.annotations[{PREFIX}{name}]")
}

/// `true` or `false`, in the words of `strconv.ParseBool` of Go, by which ingress-nginx reads them.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Bytes as nginx writes them: `8m`, `1g`, `100k`, or a number. Source: "Configuration file measurement units" of nginx.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_the_words_of_ingress_nginx() {
        let all = |words: &str| words.split(' ').map(boolean).collect::<Vec<_>>();
        assert_eq!(all("1 t T TRUE true True"), [Some(true); 6]);
        assert_eq!(all("0 f F FALSE false False"), [Some(false); 6]);
        assert_eq!(all("yes on tRUE 2  "), [None; 6]);
    }

    #[test]
    fn sizes_have_the_units_of_nginx() {
        for (text, expected) in [
            ("0", Some(0)),
            ("8m", Some(8 << 20)),
            ("1G", Some(1 << 30)),
            ("100k", Some(102_400)),
            ("m", None),
            ("+1", None),
            ("1.5m", None),
            ("8mb", None),
            ("99999999999999999999g", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }
}
