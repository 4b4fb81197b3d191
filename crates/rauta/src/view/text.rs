//! Model records in words.

use api::v1::{Diagnostic, Listener, Route, RouteBackend};
use model::{
    Action, Affinity, BackendTarget, Balancing, InvalidBackend, PathMatch, Protocol, RegexAnchor,
    RegexPattern, RouteAffinity, RouteMatch, Severity, Tier, ValueMatch,
};

use super::filters;

/// A listener; `routes` is the number of rules on it, `problem` why it does not serve.
pub(crate) fn listener(listener: &model::Listener, routes: usize, problem: String) -> Listener {
    let addresses = if listener.addresses.is_empty() {
        vec![format!("*:{}", listener.port)]
    } else {
        let at = |address: &std::net::IpAddr| std::net::SocketAddr::new(*address, listener.port).to_string();
        listener.addresses.iter().map(at).collect()
    };
    Listener {
        id: listener.id.to_string(),
        addresses,
        protocol: match listener.protocol {
            Protocol::Http => "HTTP".to_owned(),
            Protocol::Https => "HTTPS".to_owned(),
            Protocol::Tls => "TLS".to_owned(),
            Protocol::Tcp => "TCP".to_owned(),
            Protocol::Udp => "UDP".to_owned(),
        },
        hostname: listener.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
        routes: small(routes),
        problem,
    }
}

/// A rule.
pub(crate) fn route(route: &model::Route) -> Route {
    let (backends, response) = match &route.action {
        Action::Forward(references) => (references.iter().map(backend_ref).collect(), String::new()),
        Action::Respond { status, reason } => (vec![], format!("{status} {reason}")),
        Action::Redirect(redirect) => (vec![], filters::redirect(redirect)),
    };
    Route {
        object: route.id.object.to_string(),
        rule: route.id.rule,
        listeners: route.listeners.iter().map(ToString::to_string).collect(),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        matches: route.matches.iter().map(route_match).collect(),
        backends,
        response,
        balancing: balancing(route.balancing),
        affinity: match route.affinity {
            RouteAffinity::OfBackend => String::new(),
            RouteAffinity::Off => "none".to_owned(),
            RouteAffinity::Client(kept) => affinity(kept),
        },
        tier: route.tier.map(tier),
        served_tier: None,
        tier_reason: String::new(),
    }
}

/// A rule of a TCPRoute, TLSRoute or UDPRoute.
pub(crate) fn l4_route(route: &model::L4Route) -> Route {
    Route {
        object: route.id.object.to_string(),
        rule: route.id.rule,
        listeners: route.listeners.iter().map(ToString::to_string).collect(),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        matches: vec![],
        backends: route.backends.iter().map(|one| shared(&one.target, one.weight)).collect(),
        response: String::new(),
        balancing: format!("maglev {}", Balancing::MAGLEV_TABLE_SIZE_DEFAULT),
        affinity: String::new(),
        tier: None,
        served_tier: Some(3),
        tier_reason: ::kernel::Why::L4.to_string(),
    }
}

/// How an endpoint is chosen.
pub(crate) fn balancing(balancing: Balancing) -> String {
    match balancing {
        Balancing::Maglev { table_size } => format!("maglev {table_size}"),
        Balancing::RoundRobin => "round robin".to_owned(),
        Balancing::Random => "random".to_owned(),
        Balancing::LeastRequest => "least request".to_owned(),
        Balancing::PeakEwma => "peak EWMA".to_owned(),
    }
}

/// What the endpoints of a backend speak.
pub(crate) fn protocol(backend: &model::Backend) -> String {
    let version = match backend.protocol {
        model::AppProtocol::Http1 => "HTTP/1.1",
        model::AppProtocol::Http2 => "HTTP/2",
        model::AppProtocol::Negotiated => "HTTP",
    };
    match &backend.security {
        model::BackendSecurity::Cleartext => version.to_owned(),
        model::BackendSecurity::Tls(tls) if tls.authorities == model::Authorities::Anybody => {
            format!("{version} over TLS to anybody: certificates are not verified")
        }
        model::BackendSecurity::Tls(tls) => format!("{version} over TLS to {}", tls.server_name),
        model::BackendSecurity::Broken => "TLS that is not set up".to_owned(),
    }
}

/// `client-ip 3h`.
pub(crate) fn affinity(kept: Affinity) -> String {
    format!("client-ip {}", crate::settings::parse::show_duration(kept.timeout))
}

/// The tier's number.
pub(crate) const fn tier(tier: Tier) -> u32 {
    match tier {
        Tier::Xdp => 1,
        Tier::Tc => 2,
        Tier::Userspace => 3,
    }
}

/// One match as a line, such as `GET /api/* header x-version=2 query a=1`.
pub(crate) fn route_match(found: &RouteMatch) -> String {
    let mut words: Vec<String> = found.method.iter().map(ToString::to_string).collect();
    words.push(match &found.path {
        PathMatch::Exact(path) => format!("={path}"),
        PathMatch::Prefix(path) => format!("{path}/*"),
        PathMatch::StringPrefix(path) => format!("{path}*"),
        PathMatch::Regex(pattern) => format!("~{}", regex(pattern)),
    });
    let named = |kind, name: &str, value: &ValueMatch| match value {
        ValueMatch::Exact(value) => format!("{kind} {name}={value}"),
        ValueMatch::Regex(pattern) => format!("{kind} {name}~{}", regex(pattern)),
    };
    words.extend(found.headers.iter().map(|header| named("header", &header.name, &header.value)));
    words.extend(found.queries.iter().map(|query| named("query", &query.name, &query.value)));
    words.join(" ")
}

/// A diagnostic.
pub(crate) fn diagnostic(found: &model::Diagnostic) -> Diagnostic {
    let place = found.place.as_ref();
    Diagnostic {
        severity: match found.severity {
            Severity::Error => "error".to_owned(),
            Severity::Warning => "warning".to_owned(),
        },
        reason: found.reason.to_string(),
        object: found.object.as_ref().map(ToString::to_string).unwrap_or_default(),
        field: found.field.clone(),
        file: place.map(|place| place.file.display().to_string()).unwrap_or_default(),
        line: place.map_or(0, |place| place.line),
        column: place.map_or(0, |place| place.column),
        message: found.message.clone(),
    }
}

/// A count for a message; nobody has four billion routes.
pub(crate) fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// `1 route`, `2 routes`.
pub(crate) fn number(count: impl Into<u64>, one: &str) -> String {
    let count = count.into();
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// Which tier decides the requests of a route, and why; `summary` is what the kernel does as a whole.
pub(crate) fn placement(placed: Option<&kernel::RoutePlacement>, summary: &str) -> String {
    match placed {
        None => format!("userspace (Tier 3) decides it; kernel programs: {summary}"),
        Some(placed) if placed.tier == Tier::Userspace => match placed.reason {
            Some(why) => format!("userspace (Tier 3) decides it: {why}"),
            None => "userspace (Tier 3) decides it".to_owned(),
        },
        Some(placed) => {
            let tier = tier(placed.tier);
            let partly = placed.reason.map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "the kernel (Tier {tier}) decides it{partly} when the request is plain HTTP/1.1 and whole in one segment, else \
                 userspace (Tier 3)"
            )
        }
    }
}

fn backend_ref(reference: &model::BackendRef) -> RouteBackend {
    shared(&reference.target, reference.weight)
}

fn shared(target: &BackendTarget, weight: u32) -> RouteBackend {
    let (backend, broken) = match target {
        BackendTarget::Backend(id) => (id.to_string(), false),
        BackendTarget::Invalid(reason) => {
            let reason = match reason {
                InvalidBackend::NotFound => "no such Service or port",
                InvalidBackend::Kind => "not a kind that can be a backend",
                InvalidBackend::NotPermitted => "in another namespace, not permitted",
                InvalidBackend::Unsupported => "not in this version",
            };
            (reason.to_owned(), true)
        }
    };
    RouteBackend { backend, weight, broken }
}

fn regex(pattern: &RegexPattern) -> String {
    let flags = if pattern.case_insensitive { "(?i)" } else { "" };
    match pattern.anchor {
        RegexAnchor::Full => format!("^{flags}{}$", pattern.pattern),
        RegexAnchor::Start => format!("^{flags}{}", pattern.pattern),
    }
}

#[cfg(test)]
mod tests {
    use model::{BackendId, HeaderMatch, QueryMatch};

    use super::*;

    #[test]
    fn matches_read_as_a_line() {
        let of = |method: Option<&str>, path| RouteMatch {
            path,
            method: method.map(Into::into),
            headers: vec![],
            queries: vec![],
        };
        assert_eq!(route_match(&of(None, PathMatch::Prefix("".into()))), "/*");
        assert_eq!(route_match(&of(Some("GET"), PathMatch::Prefix("/api".into()))), "GET /api/*");
        assert_eq!(route_match(&of(None, PathMatch::StringPrefix("/api".into()))), "/api*");
        let pattern =
            RegexPattern { pattern: "/a.*".into(), anchor: RegexAnchor::Full, case_insensitive: true };
        let mut all = of(Some("PUT"), PathMatch::Exact("/x".into()));
        all.headers = vec![HeaderMatch { name: "x-a".into(), value: ValueMatch::Exact("1".into()) }];
        all.queries = vec![QueryMatch { name: "q".into(), value: ValueMatch::Regex(pattern) }];
        assert_eq!(route_match(&all), "PUT =/x header x-a=1 query q~^(?i)/a.*$");
    }

    #[test]
    fn broken_references_say_what_is_wrong() {
        let good = model::BackendRef::new(3, BackendTarget::Backend(BackendId::service("shop", "cart", 80)));
        assert_eq!(
            backend_ref(&good),
            RouteBackend { backend: "shop/cart:80".into(), weight: 3, broken: false }
        );
        let bad = model::BackendRef::new(1, BackendTarget::Invalid(InvalidBackend::NotFound));
        assert!(backend_ref(&bad).broken && backend_ref(&bad).backend.contains("no such Service"));
    }
}
