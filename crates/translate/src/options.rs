use std::net::IpAddr;
use std::ops::RangeInclusive;

use model::{Balancing, CertificateId};
use resources::LoadBalancerType;

/// Slots that a Maglev table may have, if their number is prime: below, the shares are too coarse; above, a slot no longer
/// fits the kernel's tables.
pub const MAGLEV_TABLE_SIZES: RangeInclusive<u32> = 251..=65_537;

/// How objects are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// GatewayClasses with this `controllerName` are ours.
    pub controller_name: String,
    /// IngressClasses with this `controller` are ours.
    pub ingress_controller_name: String,
    /// The class that is ours by name alone where `standalone` and no class object of this name exists.
    pub class_name: String,
    /// Where Ingresses and RoutingRules without parentRefs are served.
    pub default_listener: DefaultListener,
    /// The same over HTTPS, where some Ingress has `spec.tls` or a default certificate is set.
    pub default_https: DefaultListener,
    /// The port that clients reach it by, which redirects name; none: its own.
    pub https_port: Option<u16>,
    /// Whether requests over HTTP are sent to HTTPS where nobody wrote anything about that: only if somebody chose the port, as clients may
    /// reach none at the one of the defaults.
    pub redirects_by_default: bool,
    /// What clients are shown there that ask for names without a certificate; none: they are refused.
    pub default_certificate: Option<CertificateId>,
    /// Whether loopback and link-local addresses may be endpoints.
    pub allow_local_endpoints: bool,
    /// Whether `X-Forwarded-For` and `X-Forwarded-Proto` are added on all listeners.
    pub forwarded_headers: bool,
    /// Slots of the Maglev tables of routes that do not say it themselves; see [`is_maglev_table_size`].
    pub maglev_table_size: u32,
    /// Objects come from files: classes may be left out, objects of other controllers are worth a warning, and
    /// RoutingRules without parentRefs serve on the default listener. In a cluster they serve on the Gateways of
    /// their namespace.
    pub standalone: bool,
    /// Gateways listen on the addresses that [`Store::assign`](crate::Store::assign) gives them, and on no others; else on those of
    /// their `spec.addresses`, or on all.
    pub assigns_addresses: bool,
    /// Where the gateway runs, which decides about endpoints of Services that want their traffic near.
    pub place: Place,
}

/// Where in a cluster a gateway runs, as Nodes and EndpointSlices write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its Node; none: nobody has said it, and no endpoint is nearer than another.
    pub node: Option<String>,
    /// The Node's `topology.kubernetes.io/zone`; none: it has none, or it is not known (yet).
    pub zone: Option<String>,
}

/// Where Ingresses and RoutingRules without parentRefs are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultListener {
    /// Local addresses; empty: all.
    pub addresses: Vec<IpAddr>,
    /// TCP port, 1..=65535.
    pub port: u16,
}

impl DefaultListener {
    /// That of HTTPS, unless something else is asked for.
    pub fn https() -> Self {
        Self { port: 8443, ..Self::default() }
    }
}

impl Options {
    /// For objects from files.
    pub fn for_files() -> Self {
        Self {
            controller_name: "rauta.io/gateway-controller".to_owned(),
            ingress_controller_name: "rauta.io/ingress-controller".to_owned(),
            class_name: "rauta".to_owned(),
            default_listener: DefaultListener::default(),
            default_https: DefaultListener::https(),
            https_port: None,
            redirects_by_default: false,
            default_certificate: None,
            allow_local_endpoints: true,
            forwarded_headers: true,
            maglev_table_size: Balancing::MAGLEV_TABLE_SIZE_DEFAULT,
            standalone: true,
            assigns_addresses: false,
            place: Place::default(),
        }
    }

    /// For objects from an API server.
    pub fn for_cluster() -> Self {
        Self { allow_local_endpoints: false, standalone: false, ..Self::for_files() }
    }

    /// How a route chooses endpoints that asks for `kind` and, perhaps, for a number of slots.
    pub(crate) fn balancing(&self, kind: LoadBalancerType, table_size: Option<u32>) -> Balancing {
        match kind {
            LoadBalancerType::Maglev => {
                Balancing::Maglev { table_size: table_size.unwrap_or(self.maglev_table_size) }
            }
            LoadBalancerType::RoundRobin => Balancing::RoundRobin,
            LoadBalancerType::Random => Balancing::Random,
        }
    }
}

/// Whether a Maglev table may have `slots` slots: a prime within [`MAGLEV_TABLE_SIZES`] (Eisenbud et al. 2016, section
/// 3.4: with a prime each endpoint's preferences are a permutation of all slots).
pub fn is_maglev_table_size(slots: u32) -> bool {
    let divides = |divisor: &u32| slots.is_multiple_of(*divisor);
    MAGLEV_TABLE_SIZES.contains(&slots) && !(2..).take_while(|d| d * d <= slots).any(|d| divides(&d))
}

impl Default for Options {
    fn default() -> Self {
        Self::for_files()
    }
}

impl Default for DefaultListener {
    fn default() -> Self {
        Self { addresses: Vec::new(), port: 8080 }
    }
}
