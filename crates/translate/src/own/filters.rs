//! The filters of an HTTPRoute's rule, or of one of its backends.

use std::sync::Arc;

use model::{Filters, HeaderLine, HeaderModifier, Redirect};
use policy::{HeadKind, header_refusal, header_value_problem};
use resources::gateway::{
    HttpRouteRulesFilters, HttpRouteRulesFiltersRequestMirror, HttpRouteRulesFiltersType as Kind,
};

use super::{cors, rewrite};
use crate::pattern;
use crate::report::Report;

/// What a list of filters amounts to.
#[derive(Debug, Default)]
pub(crate) struct FilterList {
    pub(crate) filters: Filters,
    pub(crate) redirect: Option<Redirect>,
    /// Places in the list of mirrors that can be, with numerator and denominator of their share.
    pub(crate) mirrors: Vec<(usize, u32, u32)>,
    /// Places in the list of what this version does not serve.
    pub(crate) unsupported: Vec<usize>,
}

/// What the filters at a place may do.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The path of its one match by prefix, as [`model::PathMatch::Prefix`] has it; none: there are other matches.
    pub(crate) prefix: Option<Arc<str>>,
    /// Whether they are those of a backend.
    pub(crate) is_backend: bool,
}

/// Reads the filters at `field` (`spec.rules[0].filters`).
pub(crate) fn read(
    list: &[HttpRouteRulesFilters],
    site: &Site,
    field: &str,
    report: &mut Report<'_>,
) -> FilterList {
    let mut read = FilterList::default();
    for (i, filter) in list.iter().enumerate() {
        let field = format!("{field}[{i}]");
        check_type(filter, &field, report);
        let is_repeated = list.iter().take(i).any(|earlier| earlier.r#type == filter.r#type);
        if is_repeated && !matches!(filter.r#type, Kind::RequestMirror | Kind::ExtensionRef) {
            let message = format!("{} stands here twice: write one", name(&filter.r#type));
            report.invalid(format!("{field}.type"), message);
        }
        match (&filter.r#type, filter) {
            (
                Kind::RequestHeaderModifier,
                HttpRouteRulesFilters { request_header_modifier: Some(one), .. },
            ) => {
                let (set, add) = (one.set.iter().flatten(), one.add.iter().flatten());
                read.filters.request_headers = headers(
                    HeadKind::Request,
                    one.remove.as_deref().unwrap_or_default(),
                    set.map(|line| (line.name.as_str(), line.value.as_str())),
                    add.map(|line| (line.name.as_str(), line.value.as_str())),
                    &format!("{field}.requestHeaderModifier"),
                    report,
                );
            }
            (
                Kind::ResponseHeaderModifier,
                HttpRouteRulesFilters { response_header_modifier: Some(one), .. },
            ) => {
                let (set, add) = (one.set.iter().flatten(), one.add.iter().flatten());
                read.filters.response_headers = headers(
                    HeadKind::Response,
                    one.remove.as_deref().unwrap_or_default(),
                    set.map(|line| (line.name.as_str(), line.value.as_str())),
                    add.map(|line| (line.name.as_str(), line.value.as_str())),
                    &format!("{field}.responseHeaderModifier"),
                    report,
                );
            }
            (Kind::UrlRewrite, HttpRouteRulesFilters { url_rewrite: Some(one), .. }) => {
                let field = format!("{field}.urlRewrite");
                read.filters.url_rewrite = Some(rewrite::url(one, site, &field, report));
            }
            (Kind::RequestRedirect, HttpRouteRulesFilters { request_redirect: Some(one), .. })
                if !site.is_backend =>
            {
                read.redirect =
                    Some(rewrite::redirect(one, site, &format!("{field}.requestRedirect"), report));
            }
            (Kind::RequestMirror, HttpRouteRulesFilters { request_mirror: Some(one), .. }) => {
                let (numerator, denominator) = mirror_share(one, &format!("{field}.requestMirror"), report);
                read.mirrors.push((i, numerator, denominator));
            }
            (Kind::Cors, HttpRouteRulesFilters { cors: Some(one), .. }) if !site.is_backend => {
                read.filters.cors = Some(cors::read(one, &format!("{field}.cors"), report));
            }
            (
                Kind::RequestHeaderModifier
                | Kind::ResponseHeaderModifier
                | Kind::UrlRewrite
                | Kind::RequestMirror,
                _,
            ) => {}
            _ => read.unsupported.push(i),
        }
    }
    if read.redirect.is_some() && read.filters.url_rewrite.is_some() {
        report.invalid(field, "has both RequestRedirect and URLRewrite: keep one");
    }
    read
}

/// The type's name as users write it.
pub(crate) fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::RequestHeaderModifier => "RequestHeaderModifier",
        Kind::ResponseHeaderModifier => "ResponseHeaderModifier",
        Kind::RequestMirror => "RequestMirror",
        Kind::RequestRedirect => "RequestRedirect",
        Kind::UrlRewrite => "URLRewrite",
        Kind::ExtensionRef => "ExtensionRef",
        Kind::Cors => "CORS",
    }
}

/// "filter.x must be specified for X filter.type", and nil for the others (HTTPRouteFilter).
fn check_type(filter: &HttpRouteRulesFilters, field: &str, report: &mut Report<'_>) {
    let fields = [
        (Kind::RequestHeaderModifier, "requestHeaderModifier", filter.request_header_modifier.is_some()),
        (Kind::ResponseHeaderModifier, "responseHeaderModifier", filter.response_header_modifier.is_some()),
        (Kind::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (Kind::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (Kind::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (Kind::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
        (Kind::Cors, "cors", filter.cors.is_some()),
    ];
    for (kind, own, is_there) in fields {
        let is_wanted = kind == filter.r#type;
        if is_wanted && !is_there {
            report.invalid(format!("{field}.{own}"), format!("is missing: type {} needs it", name(&kind)));
        } else if !is_wanted && is_there {
            let message = format!("must not be set for type {}", name(&filter.r#type));
            report.invalid(format!("{field}.{own}"), message);
        }
    }
}

/// The share of requests that are copied; all of them unless it is said (HTTPRequestMirrorFilter).
fn mirror_share(
    mirror: &HttpRouteRulesFiltersRequestMirror,
    field: &str,
    report: &mut Report<'_>,
) -> (u32, u32) {
    if let Some(port) = mirror.backend_ref.port {
        pattern::port(port, format!("{field}.backendRef.port"), report);
    }
    let (numerator, denominator, own) = match (&mirror.percent, &mirror.fraction) {
        (Some(_), Some(_)) => {
            report.invalid(field, "has both percent and fraction: keep one");
            return (0, 1);
        }
        (Some(percent), None) => (*percent, 100, "percent"),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100), "fraction"),
        (None, None) => (1, 1, "fraction"),
    };
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) if denominator > 0 && numerator <= denominator => {
            (numerator, denominator)
        }
        _ => {
            let message = format!("{numerator} of {denominator} is no share: it must be from none to all");
            report.invalid(format!("{field}.{own}"), message);
            (0, 1)
        }
    }
}

fn headers<'a>(
    kind: HeadKind,
    remove: &[String],
    set: impl Iterator<Item = (&'a str, &'a str)>,
    add: impl Iterator<Item = (&'a str, &'a str)>,
    field: &str,
    report: &mut Report<'_>,
) -> HeaderModifier {
    let mut modifier = HeaderModifier::default();
    for (i, name) in remove.iter().enumerate() {
        check_name(kind, name, &format!("{field}.remove[{i}]"), report);
        modifier.remove.push(name.as_str().into());
    }
    modifier.set = lines(kind, set, &format!("{field}.set"), report);
    modifier.add = lines(kind, add, &format!("{field}.add"), report);
    let removed =
        |line: &&HeaderLine| modifier.remove.iter().any(|name| name.eq_ignore_ascii_case(&line.name));
    if let Some(line) = modifier.set.iter().chain(&modifier.add).find(removed) {
        let message = format!("{:?} is set or added too: keep one of them", line.name);
        report.invalid(format!("{field}.remove"), message);
    }
    if modifier.is_empty() {
        report.invalid(field, "is empty: write set, add or remove");
    }
    modifier
}

fn lines<'a>(
    kind: HeadKind,
    list: impl Iterator<Item = (&'a str, &'a str)>,
    field: &str,
    report: &mut Report<'_>,
) -> Vec<HeaderLine> {
    let mut lines: Vec<HeaderLine> = Vec::new();
    for (i, (name, value)) in list.enumerate() {
        check_name(kind, name, &format!("{field}[{i}].name"), report);
        if let Some(problem) = header_value_problem(value) {
            report.invalid(format!("{field}[{i}].value"), problem);
        }
        if lines.iter().any(|earlier| earlier.name.eq_ignore_ascii_case(name)) {
            let message = format!("header {name:?} stands here twice: write one value, joined with commas");
            report.invalid(format!("{field}[{i}].name"), message);
        }
        lines.push(HeaderLine { name: name.into(), value: value.into() });
    }
    lines
}

fn check_name(kind: HeadKind, name: &str, field: &str, report: &mut Report<'_>) {
    pattern::header_name(name, field, report);
    if let Some(refusal) = header_refusal(kind, name) {
        report.invalid(field, format!("{name:?} {refusal}"));
    }
}
