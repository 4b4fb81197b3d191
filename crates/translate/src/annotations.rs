use kube::core::ObjectMeta;
use model::{RouteAffinity, Tier};
use resources::LoadBalancerType;

use crate::report::Report;
use crate::{affinity, nginx};

/// What annotations `rauta.io/…` of an Ingress or HTTPRoute say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) tier: Option<Tier>,
    pub(crate) load_balancer: LoadBalancerType,
    pub(crate) forwarded_headers: bool,
    pub(crate) use_regex: bool,
    /// Paths of any type are regular expressions: groups are taken out of them.
    pub(crate) all_regex: bool,
    pub(crate) affinity: RouteAffinity,
}

/// Reads the annotations of an Ingress or HTTPRoute; errors for values that cannot be.
pub(crate) fn read(meta: &ObjectMeta, is_ingress: bool, report: &mut Report<'_>) -> Settings {
    let mut settings = Settings {
        tier: None,
        load_balancer: LoadBalancerType::Maglev,
        forwarded_headers: true,
        use_regex: false,
        all_regex: false,
        affinity: RouteAffinity::OfBackend,
    };
    if let Some(by_pattern) = nginx::rewrites_by_pattern(meta).filter(|_| is_ingress) {
        settings.use_regex = true;
        settings.all_regex = by_pattern;
    }
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
            "rauta.io/use-regex" if is_ingress => match value.parse::<bool>() {
                Ok(value) => settings.use_regex |= value,
                Err(_) => report.invalid(field(), format!("{value:?} is neither \"true\" nor \"false\"")),
            },
            nginx::USE_REGEX if is_ingress && !value.trim().is_empty() => match nginx::boolean(value.trim()) {
                Some(value) => settings.use_regex |= value,
                None => report.invalid(field(), format!("{value:?} is neither \"true\" nor \"false\"")),
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
