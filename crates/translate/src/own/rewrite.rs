//! URLRewrite and RequestRedirect of an HTTPRoute.

use std::sync::Arc;

use model::{PathRewrite, Redirect, Scheme, UrlRewrite, WildcardLabels};
use policy::path_problem;
use resources::gateway::{
    HttpRouteRulesFiltersRequestRedirect, HttpRouteRulesFiltersRequestRedirectPathType as RedirectPathType,
    HttpRouteRulesFiltersRequestRedirectScheme as RedirectScheme, HttpRouteRulesFiltersUrlRewrite,
    HttpRouteRulesFiltersUrlRewritePathType as RewritePathType,
};

use super::filters::Site;
use crate::pattern;
use crate::report::Report;

/// The statuses of RequestRedirect; the first is the default.
const STATUSES: [i64; 5] = [302, 301, 303, 307, 308];

/// Reads a URLRewrite.
pub(super) fn url(
    rewrite: &HttpRouteRulesFiltersUrlRewrite,
    site: &Site,
    field: &str,
    report: &mut Report<'_>,
) -> UrlRewrite {
    if rewrite.hostname.is_none() && rewrite.path.is_none() {
        report.invalid(field, "is empty: write hostname or path");
    }
    let path = rewrite.path.as_ref().and_then(|path| {
        let modifier = Modifier {
            is_full: path.r#type == RewritePathType::ReplaceFullPath,
            full: path.replace_full_path.as_deref(),
            prefix: path.replace_prefix_match.as_deref(),
        };
        modifier.read(site, &format!("{field}.path"), report)
    });
    UrlRewrite { hostname: hostname(rewrite.hostname.as_deref(), field, report), path }
}

/// Reads a RequestRedirect.
pub(super) fn redirect(
    redirect: &HttpRouteRulesFiltersRequestRedirect,
    site: &Site,
    field: &str,
    report: &mut Report<'_>,
) -> Redirect {
    let path = redirect.path.as_ref().and_then(|path| {
        let modifier = Modifier {
            is_full: path.r#type == RedirectPathType::ReplaceFullPath,
            full: path.replace_full_path.as_deref(),
            prefix: path.replace_prefix_match.as_deref(),
        };
        modifier.read(site, &format!("{field}.path"), report)
    });
    let status = redirect.status_code.unwrap_or(STATUSES[0]);
    if !STATUSES.contains(&status) {
        let message = format!("{status} is no redirect: write 301, 302, 303, 307 or 308");
        report.invalid(format!("{field}.statusCode"), message);
    }
    Redirect {
        scheme: redirect.scheme.as_ref().map(|scheme| match scheme {
            RedirectScheme::Http => Scheme::Http,
            RedirectScheme::Https => Scheme::Https,
        }),
        hostname: hostname(redirect.hostname.as_deref(), field, report),
        port: redirect.port.and_then(|port| pattern::port(port, format!("{field}.port"), report)),
        path,
        status: u16::try_from(status).unwrap_or(302),
        is_relative: false,
    }
}

/// A precise host name: no wildcard (PreciseHostname in `shared_types.go`).
fn hostname(name: Option<&str>, field: &str, report: &mut Report<'_>) -> Option<Arc<str>> {
    let name = name?;
    let field = format!("{field}.hostname");
    if name.starts_with('*') {
        report.invalid(&field, format!("{name:?} is a wildcard: write one name"));
    } else {
        pattern::host(name, &field, WildcardLabels::OneOrMore, report);
    }
    Some(name.into())
}

/// HTTPPathModifier, whichever filter it stands in.
struct Modifier<'m> {
    is_full: bool,
    full: Option<&'m str>,
    prefix: Option<&'m str>,
}

impl Modifier<'_> {
    fn read(&self, site: &Site, field: &str, report: &mut Report<'_>) -> Option<PathRewrite> {
        let (own, other, value, surplus) = if self.is_full {
            ("replaceFullPath", "replacePrefixMatch", self.full, self.prefix)
        } else {
            ("replacePrefixMatch", "replaceFullPath", self.prefix, self.full)
        };
        if surplus.is_some() {
            report.invalid(format!("{field}.{other}"), format!("must not be set beside {own}"));
        }
        let Some(value) = value else {
            report.invalid(format!("{field}.{own}"), "is missing: the type needs it");
            return None;
        };
        if (!value.is_empty() || self.is_full)
            && let Some(problem) = path_problem(value)
        {
            report.invalid(format!("{field}.{own}"), format!("{value:?} {problem}"));
        }
        if self.is_full {
            return Some(PathRewrite::Full(value.into()));
        }
        let Some(matched) = &site.prefix else {
            let message = "needs exactly one match of the rule, by PathPrefix: it is what gives way";
            report.invalid(format!("{field}.replacePrefixMatch"), message);
            return None;
        };
        Some(PathRewrite::Prefix { matched: Arc::clone(matched), replacement: value.into() })
    }
}
