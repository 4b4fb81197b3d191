use kube::core::ObjectMeta;
use model::{Reason, RouteAffinity, Tier};
use resources::LoadBalancerType;

use crate::affinity;
use crate::report::Report;

/// What annotations `rauta.io/…` of an Ingress or HTTPRoute say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) tier: Option<Tier>,
    pub(crate) load_balancer: LoadBalancerType,
    pub(crate) forwarded_headers: bool,
    pub(crate) use_regex: bool,
    pub(crate) affinity: RouteAffinity,
}

/// Annotations of ingress-nginx that decide who may pass. A route that lost them would let everybody in.
const NGINX_GUARDS: [&str; 12] = [
    "auth-url",
    "auth-type",
    "auth-secret",
    "auth-signin",
    "auth-snippet",
    "auth-tls-secret",
    "auth-tls-verify-client",
    "auth-tls-match-cn",
    "whitelist-source-range",
    "allowlist-source-range",
    "denylist-source-range",
    "satisfy",
];

const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Reads the annotations of an Ingress or HTTPRoute; errors for values that cannot be.
pub(crate) fn read(meta: &ObjectMeta, is_ingress: bool, report: &mut Report<'_>) -> Settings {
    let mut settings = Settings {
        tier: None,
        load_balancer: LoadBalancerType::Maglev,
        forwarded_headers: true,
        use_regex: false,
        affinity: RouteAffinity::OfBackend,
    };
    let (mut kept, mut kept_for) = (None, None);
    for (key, value) in meta.annotations.iter().flatten() {
        let field = || field(key);
        match key.as_str() {
            "rauta.io/tier" => match tier(value.parse::<u8>().unwrap_or(0)) {
                Some(tier) => settings.tier = Some(tier),
                None => report.invalid(field(), format!("{value:?} is no tier: write \"1\", \"2\" or \"3\"")),
            },
            "rauta.io/load-balancer" => match value.as_str() {
                "Maglev" => settings.load_balancer = LoadBalancerType::Maglev,
                "RoundRobin" => settings.load_balancer = LoadBalancerType::RoundRobin,
                "Random" => settings.load_balancer = LoadBalancerType::Random,
                _ => report
                    .invalid(field(), format!("{value:?} is none of \"Maglev\", \"RoundRobin\" and \"Random\"")),
            },
            "rauta.io/forwarded-headers" => match value.parse::<bool>() {
                Ok(value) => settings.forwarded_headers = value,
                Err(_) => report.invalid(field(), format!("{value:?} is neither \"true\" nor \"false\"")),
            },
            "rauta.io/use-regex" | "nginx.ingress.kubernetes.io/use-regex" if is_ingress => match value.parse::<bool>() {
                Ok(value) => settings.use_regex |= value,
                Err(_) => report.invalid(field(), format!("{value:?} is neither \"true\" nor \"false\"")),
            },
            affinity::ANNOTATION => kept = Some((value.as_str(), field())),
            affinity::TIMEOUT => kept_for = Some((value.as_str(), field())),
            _ if key.starts_with("rauta.io/") => report.invalid(
                field(),
                "no such annotation; there are rauta.io/tier, rauta.io/load-balancer, rauta.io/forwarded-headers, \
                 rauta.io/affinity, rauta.io/affinity-timeout and, for an Ingress, rauta.io/use-regex",
            ),
            _ => {}
        }
    }
    settings.affinity = affinity::annotated(kept, kept_for, report);
    settings
}

/// Reports annotations of ingress-nginx that this version does not act on; whether one of them guards access.
pub(crate) fn unsupported_nginx(meta: &ObjectMeta, report: &mut Report<'_>) -> bool {
    let mut is_guarded = false;
    for key in meta.annotations.iter().flatten().map(|(key, _)| key) {
        let Some(name) = key.strip_prefix(NGINX).filter(|name| *name != "use-regex") else { continue };
        if NGINX_GUARDS.contains(&name) {
            is_guarded = true;
            let message = "decides who may pass, and this version cannot enforce it: the Ingress answers 500 \
                           instead of letting everybody in; remove the annotation to serve it unguarded";
            report.error(Reason::Unsupported, field(key), message);
        } else {
            let message = "has no effect in this version; remove it if the Ingress works without";
            report.warning(Reason::Unsupported, field(key), message);
        }
    }
    is_guarded
}

/// Tier 1 to 3 by number.
pub(crate) fn tier(number: u8) -> Option<Tier> {
    match number {
        1 => Some(Tier::Xdp),
        2 => Some(Tier::Tc),
        3 => Some(Tier::Userspace),
        _ => None,
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}
