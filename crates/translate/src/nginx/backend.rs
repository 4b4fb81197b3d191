//! What endpoints speak: `backend-protocol` and `proxy-ssl-*`.
//!
//! Source: "Backend Protocol" and "Backend Certificate Authentication" of the annotations of ingress-nginx.

use model::{AppProtocol, Speaks, SpokenTls};

use super::closing::CLOSES;
use super::values::Said;
use crate::pattern;

/// How endpoints are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// Without the Secret.
    pub(crate) speaks: Speaks,
    /// Its name, perhaps behind a namespace and a slash.
    pub(crate) secret: Option<String>,
}

/// What counts for connections over TLS alone.
const OF_TLS: [&str; 3] = ["proxy-ssl-secret", "proxy-ssl-verify", "proxy-ssl-name"];

/// None: as the Service says. An error closes, as requests that were meant for TLS may not leave without: it has been reported.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Result<Spoken, ()>> {
    let text = said.text("backend-protocol").unwrap_or("HTTP");
    let (protocol, is_secured) = match text.to_ascii_uppercase().as_str() {
        // One connection carries one request, as with nginx: it has no HTTP/2 to endpoints but gRPC.
        "HTTPS" => (AppProtocol::Http1, true),
        "GRPC" => (AppProtocol::Http2, false),
        "GRPCS" => (AppProtocol::Http2, true),
        "HTTP" | "AUTO_HTTP" => {
            left_out(said);
            return None;
        }
        "FCGI" => {
            let message = format!("FastCGI is not served, {CLOSES}: put a server before it that speaks HTTP");
            said.bad("backend-protocol", message);
            return Some(Err(()));
        }
        _ => {
            let message = format!("{text:?} is no protocol, {CLOSES}: write HTTP, HTTPS, GRPC or GRPCS");
            said.bad("backend-protocol", message);
            return Some(Err(()));
        }
    };
    if !is_secured {
        left_out(said);
        return Some(Ok(Spoken { speaks: Speaks { protocol, tls: None }, secret: None }));
    }
    let (name, is_verified, tells_name) =
        (name(said), switch(said, "proxy-ssl-verify"), switch(said, "proxy-ssl-server-name"));
    let together = || {
        let (name, is_verified, tells_name) = (name?, is_verified?, tells_name?);
        let tls = SpokenTls { name: name.map(Into::into), tells_name, is_verified, secret: None };
        let secret = said.text("proxy-ssl-secret").map(str::to_owned);
        Ok(Spoken { speaks: Speaks { protocol, tls: Some(tls) }, secret })
    };
    Some(together())
}

fn left_out(said: &mut Said<'_, '_, '_>) {
    for name in OF_TLS {
        if said.text(name).is_some_and(|value| value != "off") {
            said.left_out(name, "is without backend-protocol HTTPS or GRPCS, so it has no effect");
        }
    }
}

fn name<'a>(said: &mut Said<'a, '_, '_>) -> Result<Option<&'a str>, ()> {
    let name = said.text("proxy-ssl-name");
    match name.filter(|name| !pattern::is_dns_name(name)) {
        None => Ok(name),
        Some(name) => {
            let message = format!("{name:?} is no name of a host, {CLOSES}: write one, without variables");
            said.bad("proxy-ssl-name", message);
            Err(())
        }
    }
}

/// `on` or `off`, the default.
fn switch(said: &mut Said<'_, '_, '_>, name: &str) -> Result<bool, ()> {
    match said.text(name) {
        Some("on") => Ok(true),
        None | Some("off") => Ok(false),
        Some(other) => {
            said.bad(name, format!("{other:?} is neither \"on\" nor \"off\", {CLOSES}"));
            Err(())
        }
    }
}
