use std::net::IpAddr;

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
    /// Whether loopback and link-local addresses may be endpoints.
    pub allow_local_endpoints: bool,
    /// Whether `X-Forwarded-For` and `X-Forwarded-Proto` are added on all listeners.
    pub forwarded_headers: bool,
    /// Objects come from files: classes may be left out, objects of other controllers are worth a warning, and
    /// RoutingRules without parentRefs serve on the default listener. In a cluster they serve on the Gateways of
    /// their namespace.
    pub standalone: bool,
}

/// Where Ingresses and RoutingRules without parentRefs are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultListener {
    /// Local addresses; empty: all.
    pub addresses: Vec<IpAddr>,
    /// TCP port, 1..=65535.
    pub port: u16,
}

impl Options {
    /// For objects from files.
    pub fn for_files() -> Self {
        Self {
            controller_name: "rauta.io/gateway-controller".to_owned(),
            ingress_controller_name: "rauta.io/ingress-controller".to_owned(),
            class_name: "rauta".to_owned(),
            default_listener: DefaultListener::default(),
            allow_local_endpoints: true,
            forwarded_headers: true,
            standalone: true,
        }
    }

    /// For objects from an API server.
    pub fn for_cluster() -> Self {
        Self { allow_local_endpoints: false, standalone: false, ..Self::for_files() }
    }
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
