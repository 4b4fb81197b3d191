//! `default-backend` and `custom-http-errors`: who answers where endpoints do not, or not well.
//!
//! Source: internal/ingress/annotations/{defaultbackend,customhttperrors,disableproxyintercepterrors} and the locations `@custom_…` of
//! rootfs/etc/nginx/template/nginx.tmpl of ingress-nginx v1.15.1.

use super::values::Said;
use crate::pattern;

/// Who answers, and in place of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Substitute {
    /// A Service of the Ingress's namespace.
    pub(crate) service: String,
    /// Sorted.
    pub(crate) statuses: Vec<u16>,
    /// Whether what endpoints answer stays.
    pub(crate) keeps_answers: bool,
}

/// None: nobody does.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Substitute> {
    let statuses = statuses(said);
    let keeps_answers = said.flag("disable-proxy-intercept-errors").unwrap_or(false);
    let Some(service) = said.text("default-backend") else {
        if !statuses.is_empty() {
            let message =
                "is without default-backend, so errors stay as they are: name the Service that answers them";
            said.left_out("custom-http-errors", message);
        }
        return None;
    };
    if !pattern::is_object_name(service) {
        said.bad("default-backend", format!("{service:?} is no name of a Service, so it has no effect"));
        return None;
    }
    Some(Substitute { service: service.to_owned(), statuses, keeps_answers })
}

fn statuses(said: &mut Said<'_, '_, '_>) -> Vec<u16> {
    let mut found = Vec::new();
    for text in said.list("custom-http-errors").unwrap_or_default() {
        // nginx, `error_page`: "value must be between 300 and 599".
        match text.parse::<u16>().ok().filter(|status| (300..600).contains(status)) {
            Some(status) => found.push(status),
            None => {
                let message = format!("{text:?} is no status from 300 to 599, and is left out");
                said.bad("custom-http-errors", message);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
