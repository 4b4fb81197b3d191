/// What all names of annotations begin with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What an annotation amounts to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// What it does in ingress-nginx.
    Same,
    /// Much of that; the note says what is otherwise.
    Differs,
    /// Nothing, and nothing is lost by that: what it tunes is not there, or is always so.
    NoEffect,
    /// Nothing: the Ingress is served without it, which is reported.
    Missing,
    /// Nothing; as it decides who may pass, the Ingress answers 500 instead.
    Closed,
}

impl Support {
    /// As people and programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::NoEffect => "no effect",
            Self::Missing => "missing",
            Self::Closed => "closed",
        }
    }

    /// Whether an Ingress with it can be served as it was meant.
    pub fn is_understood(self) -> bool {
        matches!(self, Self::Same | Self::Differs | Self::NoEffect)
    }
}

/// An annotation of ingress-nginx.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Without [`PREFIX`].
    pub name: &'static str,
    /// What it is about.
    pub group: &'static str,
    /// What it amounts to here.
    pub support: Support,
    /// What is otherwise, or what to do instead; empty where there is nothing to say.
    pub note: &'static str,
}

/// The annotation of this name (without [`PREFIX`]), if ingress-nginx has it.
pub fn annotation(name: &str) -> Option<&'static Annotation> {
    TABLE.iter().find(|known| known.name == name)
}

const fn row(name: &'static str, group: &'static str, support: Support, note: &'static str) -> Annotation {
    Annotation { name, group, support, note }
}

use Support::{Closed, Differs, Missing, NoEffect, Same};

const BUFFERS: &str = "bodies pass as they come, through buffers of fixed size";
const NO_TRACES: &str = "traces are set for the whole gateway";
const NO_WAF: &str = "there is no web application firewall: put one behind or before the gateway";
const NO_DIGEST: &str = "clients with certificates come to an HTTPS listener of a Gateway";
const NO_AUTH_REQUEST: &str = "write a RoutePolicy with extAuth for the Ingress, then remove the annotation";

/// All of them, by group.
pub const TABLE: &[Annotation] = &[
    // Redirects.
    row(
        "ssl-redirect",
        "redirects",
        Differs,
        "of this Ingress's spec.tls alone; without it only if listenHttps or httpsPort is set; a host whose Secret is missing or wrong stays on HTTP, unless \"true\" is written",
    ),
    row(
        "force-ssl-redirect",
        "redirects",
        Differs,
        "X-Forwarded-Proto counts where a proxy in trustedProxies says it",
    ),
    row(
        "permanent-redirect",
        "redirects",
        Differs,
        "a URL or a path of the same host; the query of the request is kept; of variables only $request_uri at the end",
    ),
    row("permanent-redirect-code", "redirects", Differs, "301, 302, 303, 307 and 308"),
    row("temporal-redirect", "redirects", Differs, "as permanent-redirect"),
    row("temporal-redirect-code", "redirects", Differs, "301, 302, 303, 307 and 308"),
    row("app-root", "redirects", Differs, "the query of the request is kept"),
    row("from-to-www-redirect", "redirects", Differs, "an older Ingress with the other name counts instead"),
    row("preserve-trailing-slash", "redirects", NoEffect, "no slash is added or taken"),
    row(
        "relative-redirects",
        "redirects",
        Differs,
        "of permanent-redirect and temporal-redirect to a path (/new), which without it name scheme, host and, where it is not the usual one, port",
    ),
    // Paths and names.
    row(
        "use-regex",
        "paths",
        Differs,
        "for ImplementationSpecific paths of this Ingress alone: other Ingresses of the host are not touched",
    ),
    row(
        "rewrite-target",
        "paths",
        Differs,
        "as use-regex; $1 to $9 stand for groups of the path as it came, not decoded",
    ),
    row("x-forwarded-prefix", "paths", Differs, "also without rewrite-target"),
    row("upstream-vhost", "paths", Differs, "a name, without variables"),
    row("server-alias", "paths", Differs, "names and wildcards, no regular expressions"),
    row(
        "default-backend",
        "paths",
        Differs,
        "a Service of the namespace, by its first port; also for paths whose Service is missing; without it 503",
    ),
    row(
        "custom-http-errors",
        "paths",
        Differs,
        "with default-backend alone, which is asked by GET without a body; answers to who may not pass stay as they are, and so does gRPC",
    ),
    row("disable-proxy-intercept-errors", "paths", Same, ""),
    row(
        "proxy-redirect-from",
        "paths",
        Differs,
        "of Location, without variables and patterns; default has no effect",
    ),
    row("proxy-redirect-to", "paths", Differs, "as proxy-redirect-from"),
    row("enable-rewrite-log", "paths", NoEffect, "`rauta explain request` shows what becomes of a request"),
    row("proxy-cookie-domain", "paths", Differs, "one replacement, without variables and patterns"),
    row("proxy-cookie-path", "paths", Differs, "one replacement, without variables and patterns"),
    // Limits and times.
    row("proxy-body-size", "limits", Differs, "without it there is no limit, where ingress-nginx has 1m"),
    row("client-body-buffer-size", "limits", NoEffect, BUFFERS),
    row(
        "proxy-read-timeout",
        "limits",
        Differs,
        "without it timeouts.idle (300s), and timeouts.tunnelIdle for WebSocket",
    ),
    row("proxy-send-timeout", "limits", Differs, "without it timeouts.idle (300s)"),
    row(
        "proxy-connect-timeout",
        "limits",
        Differs,
        "TLS with the endpoint included; without it timeouts.connect (5s)",
    ),
    row(
        "proxy-next-upstream",
        "limits",
        Differs,
        "what did not reach an endpoint goes to another one always; statuses and, of idempotent methods, answers that are late (timeout, with proxy-read-timeout) are tried again within a budget",
    ),
    row(
        "proxy-next-upstream-tries",
        "limits",
        Differs,
        "from 1 to 11, with statuses or timeout in proxy-next-upstream",
    ),
    row(
        "proxy-next-upstream-timeout",
        "limits",
        NoEffect,
        "the tries are bounded by their number and a budget",
    ),
    row(
        "limit-rps",
        "limits",
        Differs,
        "for each node; 503 with Retry-After; tokens, not a leaking bucket; of IPv6 the first 64 bits are a client",
    ),
    row(
        "limit-rpm",
        "limits",
        Differs,
        "as limit-rps; beside that the one with fewer requests a minute counts alone",
    ),
    row("limit-burst-multiplier", "limits", Same, ""),
    row("limit-connections", "limits", Differs, "for each node; of IPv6 the first 64 bits are a client"),
    row("limit-rate", "limits", Missing, "bytes a second are not limited"),
    row("limit-rate-after", "limits", NoEffect, "bytes a second are not limited"),
    row("limit-whitelist", "limits", Same, ""),
    row("limit-allowlist", "limits", Same, ""),
    row("proxy-buffering", "limits", NoEffect, BUFFERS),
    row("proxy-buffer-size", "limits", NoEffect, BUFFERS),
    row("proxy-buffers-number", "limits", NoEffect, BUFFERS),
    row("proxy-busy-buffers-size", "limits", NoEffect, BUFFERS),
    row("proxy-max-temp-file-size", "limits", NoEffect, "nothing is kept in files"),
    row("proxy-request-buffering", "limits", NoEffect, BUFFERS),
    // What endpoints speak.
    row(
        "backend-protocol",
        "backends",
        Differs,
        "HTTP, HTTPS, GRPC and GRPCS; with FCGI, or what is no protocol, the Ingress answers 500; a BackendTLSPolicy for the Service counts first",
    ),
    row(
        "proxy-http-version",
        "backends",
        NoEffect,
        "HTTP/1.1, or what appProtocol of the Service's port says",
    ),
    row(
        "proxy-ssl-secret",
        "backends",
        Differs,
        "in another namespace by a ReferenceGrant; one that cannot be used makes the Ingress answer 500",
    ),
    row(
        "proxy-ssl-verify",
        "backends",
        Differs,
        "also without proxy-ssl-secret: then by the authorities of the system",
    ),
    row("proxy-ssl-verify-depth", "backends", NoEffect, "chains may have up to six certificates between"),
    row(
        "proxy-ssl-name",
        "backends",
        Differs,
        "also without proxy-ssl-secret; without it NAME.NAMESPACE.svc of the Service",
    ),
    row("proxy-ssl-server-name", "backends", Same, ""),
    row("proxy-ssl-ciphers", "backends", NoEffect, "TLS 1.2 and 1.3 with their secure suites"),
    row("proxy-ssl-protocols", "backends", NoEffect, "TLS 1.2 and 1.3"),
    row(
        "service-upstream",
        "backends",
        NoEffect,
        "requests go to endpoints; one that fails is left out at once",
    ),
    row("load-balance", "backends", Same, ""),
    row(
        "upstream-hash-by",
        "backends",
        Differs,
        "$remote_addr and $binary_remote_addr; for others write a BackendPolicy with consistentHash",
    ),
    row("upstream-hash-by-subset", "backends", Missing, "each key has one endpoint"),
    row("upstream-hash-by-subset-size", "backends", Missing, "each key has one endpoint"),
    row(
        "connection-proxy-header",
        "backends",
        NoEffect,
        "connections to endpoints are kept open; WebSocket needs nothing",
    ),
    // Who may pass.
    row("whitelist-source-range", "access", Same, ""),
    row("allowlist-source-range", "access", Same, ""),
    row("denylist-source-range", "access", Same, ""),
    row("auth-type", "access", Differs, "basic; with digest the Ingress answers 500"),
    row("auth-secret", "access", Differs, "in the namespace of the Ingress"),
    row("auth-secret-type", "access", Same, ""),
    row("auth-realm", "access", Same, ""),
    row("satisfy", "access", Differs, "all; with any the Ingress answers 500"),
    row(
        "auth-url",
        "access",
        Differs,
        "http:// to a Service of the cluster, in another namespace by a ReferenceGrant; with another URL the Ingress answers 500; each Set-Cookie of a 2xx is a line of its own",
    ),
    row("auth-method", "access", Same, ""),
    row(
        "auth-signin",
        "access",
        Differs,
        "of variables $host, $http_host, $scheme, $request_uri and $escaped_request_uri; with another the Ingress answers 500",
    ),
    row("auth-signin-redirect-param", "access", Same, ""),
    row("auth-response-headers", "access", Same, ""),
    row("auth-request-redirect", "access", Differs, "with variables as auth-signin"),
    row(
        "auth-proxy-set-headers",
        "access",
        Differs,
        "from a ConfigMap in the namespace of the Ingress, with variables as auth-signin; what cannot be makes the Ingress answer 500",
    ),
    row("auth-always-set-cookie", "access", Same, ""),
    row("auth-snippet", "access", Closed, NO_AUTH_REQUEST),
    row("auth-cache-key", "access", NoEffect, "the service is asked each time"),
    row("auth-cache-duration", "access", NoEffect, "the service is asked each time"),
    row("auth-keepalive", "access", NoEffect, "connections are kept open"),
    row("auth-keepalive-share-vars", "access", NoEffect, "connections are kept open"),
    row("auth-keepalive-requests", "access", NoEffect, "connections are kept open"),
    row("auth-keepalive-timeout", "access", NoEffect, "connections are kept open"),
    row("enable-global-auth", "access", NoEffect, "there is none: write a RoutePolicy for a Gateway"),
    row("auth-tls-secret", "access", Closed, NO_DIGEST),
    row("auth-tls-verify-client", "access", Closed, NO_DIGEST),
    row("auth-tls-verify-depth", "access", Missing, NO_DIGEST),
    row("auth-tls-error-page", "access", Missing, NO_DIGEST),
    row("auth-tls-pass-certificate-to-upstream", "access", Missing, NO_DIGEST),
    row("auth-tls-match-cn", "access", Closed, NO_DIGEST),
    // CORS.
    row("enable-cors", "cors", Same, ""),
    row(
        "cors-allow-origin",
        "cors",
        Differs,
        "with * credentials are not allowed, which browsers refuse in any case",
    ),
    row("cors-allow-methods", "cors", Same, ""),
    row("cors-allow-headers", "cors", Same, ""),
    row("cors-expose-headers", "cors", Same, ""),
    row("cors-allow-credentials", "cors", Same, ""),
    row("cors-max-age", "cors", Same, ""),
    // Sessions.
    row("affinity", "sessions", Differs, "over several nodes and restarts only with sessionKeyFile"),
    row("affinity-mode", "sessions", Differs, "always persistent: a session moves when its endpoint is gone"),
    row(
        "affinity-canary-behavior",
        "sessions",
        Differs,
        "sticky: a session keeps what was drawn for it by weight",
    ),
    row("session-cookie-name", "sessions", Same, ""),
    row(
        "session-cookie-path",
        "sessions",
        Differs,
        "without it / for regular expressions, where ingress-nginx needs it",
    ),
    row("session-cookie-expires", "sessions", Same, ""),
    row("session-cookie-max-age", "sessions", Same, ""),
    row(
        "session-cookie-change-on-failure",
        "sessions",
        NoEffect,
        "a session moves when its endpoint can take no requests",
    ),
    row("session-cookie-samesite", "sessions", Differs, "without it Lax"),
    row("session-cookie-conditional-samesite-none", "sessions", Same, ""),
    row("session-cookie-secure", "sessions", Same, ""),
    row("session-cookie-domain", "sessions", Same, ""),
    // Canaries.
    row(
        "canary",
        "canary",
        Differs,
        "of paths of Ingresses of the same namespace, not of all paths with the same Service",
    ),
    row("canary-by-header", "canary", Same, ""),
    row("canary-by-header-value", "canary", Same, ""),
    row(
        "canary-by-header-pattern",
        "canary",
        Differs,
        "a pattern in the syntax of Rust, without look-around",
    ),
    row("canary-by-cookie", "canary", Differs, "a name of letters, digits, '-' and '_'"),
    row("canary-weight", "canary", Same, ""),
    row("canary-weight-total", "canary", Same, ""),
    // Headers, copies, observation.
    row(
        "custom-headers",
        "headers",
        Differs,
        "headers of responses, from a ConfigMap in the namespace of the Ingress, without a list of those allowed",
    ),
    row(
        "configuration-snippet",
        "headers",
        Differs,
        "more_set_headers, add_header, proxy_set_header and return, without variables; with anything else the Ingress answers 500",
    ),
    row(
        "server-snippet",
        "headers",
        Closed,
        "write filters of an HTTPRoute, or a RoutePolicy, then remove the annotation",
    ),
    row("stream-snippet", "headers", Missing, "write a TCPRoute"),
    row(
        "mirror-target",
        "headers",
        Differs,
        "http:// to a Service of the cluster, in another namespace by a ReferenceGrant; of variables only $request_uri at the end; copies have the headers that endpoints get of the gateway, too",
    ),
    row("mirror-request-body", "headers", Same, ""),
    row("mirror-host", "headers", Differs, "a name, perhaps with a port, without variables"),
    row(
        "enable-access-log",
        "headers",
        Differs,
        "false, for statuses below 400: errors are in the log all the same; true adds nothing to what the settings log",
    ),
    row("enable-opentelemetry", "headers", Missing, NO_TRACES),
    row("opentelemetry-trust-incoming-span", "headers", Missing, NO_TRACES),
    row("opentelemetry-operation-name", "headers", Missing, NO_TRACES),
    row("http2-push-preload", "headers", NoEffect, "browsers take no pushed responses any more"),
    // TLS and filters of attacks.
    row("ssl-passthrough", "tls", Missing, "write a TLSRoute"),
    row("ssl-ciphers", "tls", NoEffect, "TLS 1.2 and 1.3 with their secure suites"),
    row("ssl-prefer-server-ciphers", "tls", NoEffect, "TLS 1.2 and 1.3 with their secure suites"),
    row("enable-modsecurity", "tls", Missing, NO_WAF),
    row("enable-owasp-core-rules", "tls", Missing, NO_WAF),
    row("modsecurity-transaction-id", "tls", Missing, NO_WAF),
    row("modsecurity-snippet", "tls", Missing, NO_WAF),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_there_once_and_what_differs_says_how() {
        let names: BTreeSet<_> = TABLE.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for one in TABLE.iter().filter(|one| one.support != Support::Same) {
            assert!(!one.note.is_empty(), "{}", one.name);
        }
        assert!(annotation("app-root").is_some() && annotation("app-rot").is_none());
    }

    #[test]
    fn the_guide_has_the_table() {
        let page = include_str!("../../../../docs/guide/ingress-nginx.md");
        let rows: String = TABLE
            .iter()
            .map(|one| format!("| `{}` | {} | {} |\n", one.name, one.support.as_str(), one.note))
            .collect();
        assert!(page.contains(&rows), "docs/guide/ingress-nginx.md should hold:\n{rows}");
        let understood = TABLE.iter().filter(|one| one.support.is_understood()).count();
        let nothing = TABLE.iter().filter(|one| one.support == Support::NoEffect).count();
        let counted =
            format!("Of {} {} act, {nothing} have nothing to do", TABLE.len(), understood - nothing);
        let log = include_str!("../../../../CHANGELOG.md");
        assert!(page.contains(&counted) && log.contains(&counted.replace("Of", "of")), "{counted}");
    }

    #[test]
    fn what_acts_is_seen_in_a_case() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let manifests = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        let cases: String = manifests.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let acts = |one: &&Annotation| one.support.is_understood() && one.support != Support::NoEffect;
        let unseen =
            TABLE.iter().filter(acts).filter(|one| !cases.contains(&format!("{PREFIX}{}:", one.name)));
        assert_eq!(unseen.map(|one| one.name).collect::<Vec<_>>(), [""; 0]);
    }
}
