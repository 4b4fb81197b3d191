//! The list of all settings.

use super::Key;
use super::values::{
    access_log, access_log_format, admin, affinity_entries, announce_on, boolean_or_auto, collector,
    counted_endpoints, counted_routes, endpoint_room, escaped_slashes, forward, head_bytes, header_or_off,
    hook, interface, listen_https, log_format, log_level, maglev_table_size, max_flows, metrics, on_exit,
    one_in, one_in_or_off, path, path_or_off, policy, pool_idle, pool_legs, port_or_auto, redraw_after,
    requests, response_header_or_off, room, route_metrics, secret_or_off, service_or_off, show_access_log,
    show_address, show_announce_on, show_collector, show_escaped_slashes, show_forward, show_listen,
    show_listen_https, show_on_exit, show_one_in_or_off, show_or_auto, show_or_off, show_path,
    show_path_or_off, show_policy, show_pool_idle, show_port_or_auto, show_secret_or_off,
    show_service_or_off, shown, shown_bytes, xdp_mode,
};
use crate::settings::parse::{
    Expected, address, address_or_name, boolean, bytes, count, duration, listen, network, ports, range,
};

/// A key with one value, kept in a field.
macro_rules! one {
    ($name:literal, $help:literal, $($field:ident).+, $read:expr, $show:expr) => {
        Key {
            name: $name,
            help: $help,
            is_list: false,
            set: |settings, values| {
                settings.$($field).+ = $read(values.first().copied().unwrap_or_default())?;
                Ok(())
            },
            show: |settings| vec![$show(&settings.$($field).+)],
        }
    };
}

/// A key with any number of values, kept in a field.
macro_rules! list {
    ($name:literal, $help:literal, $($field:ident).+, $read:expr) => {
        Key {
            name: $name,
            help: $help,
            is_list: true,
            set: |settings, values| {
                settings.$($field).+ = values.iter().map(|value| $read(value)).collect::<Result<_, Expected>>()?;
                Ok(())
            },
            show: |settings| settings.$($field).+.iter().map(ToString::to_string).collect(),
        }
    };
}

/// All settings, in the order of the manual.
pub(crate) static KEYS: &[Key] = &[
    one!(
        "listen",
        "where Ingresses and RoutingRules without a Gateway are served",
        listen,
        listen,
        show_listen
    ),
    one!(
        "listenHttps",
        "the same over HTTPS, where Ingresses have spec.tls or a default certificate is set",
        listen_https,
        listen_https,
        show_listen_https
    ),
    one!(
        "httpsPort",
        "the port of that in redirects, where clients reach it by another one; auto: its own",
        https_port,
        port_or_auto,
        show_port_or_auto
    ),
    one!(
        "defaultCertificate",
        "the Secret, NAMESPACE/NAME, shown to clients that ask for names without a certificate; or off",
        default_certificate,
        secret_or_off,
        show_secret_or_off
    ),
    one!("admin", "address of the status page, /healthz and /readyz, or off", admin, admin, show_address),
    one!("metrics", "address of /metrics, or off", metrics, metrics, show_address),
    one!("socket", "the control socket", socket, path, show_path),
    one!(
        "kubeconfig",
        "how --kubernetes reaches the API server; off: as a Pod, or by $KUBECONFIG or ~/.kube/config",
        kubeconfig,
        path_or_off,
        show_path_or_off
    ),
    list!(
        "addresses.nodes",
        "addresses of Gateways that name none, in their status; none: those of the nodes that run an agent",
        addresses.nodes,
        address
    ),
    one!(
        "addresses.service",
        "the Service, NAMESPACE/NAME, whose load balancer's addresses they have instead; or off",
        addresses.service,
        service_or_off,
        show_service_or_off
    ),
    list!(
        "addresses.ingresses",
        "addresses and DNS names of Ingresses, in their status; none: those of the nodes, and of Gateways that serve them",
        addresses.ingresses,
        address_or_name
    ),
    list!(
        "addresses.pool",
        "networks, ranges and addresses of which each Gateway is given its own; none: they listen on all of the node's",
        addresses.pool,
        range
    ),
    one!(
        "addresses.interface",
        "where they are announced: auto for the interface with the default route, a name, or off",
        addresses.announce_on,
        announce_on,
        show_announce_on
    ),
    one!("addresses.heartbeat", "how often a node says that it lives", addresses.heartbeat, duration, shown),
    one!(
        "addresses.heartbeatTimeout",
        "how long others are believed to live that do not",
        addresses.heartbeat_timeout,
        duration,
        shown
    ),
    one!("threads", "proxy threads", proxy.threads, count, ToString::to_string),
    one!("connectionsMax", "client connections at once", proxy.connections_max, count, ToString::to_string),
    one!("udpSessionsMax", "UDP sessions at once", proxy.udp_sessions_max, count, ToString::to_string),
    one!("log.level", "error, warn, info, debug, trace, or directives", log_level, log_level, Clone::clone),
    one!("log.format", "text or json", log_format, log_format, ToString::to_string),
    one!(
        "timeouts.headerRead",
        "first to last byte of a request head",
        proxy.timeouts.header_read,
        duration,
        shown
    ),
    one!("timeouts.stall", "a client that stops sending or taking", proxy.timeouts.stall, duration, shown),
    one!("timeouts.connect", "connecting to an endpoint", proxy.timeouts.connect, duration, shown),
    one!("timeouts.idle", "a connection without a request", proxy.timeouts.idle, duration, shown),
    one!("timeouts.poolIdle", "an idle connection to an endpoint", proxy.timeouts.pool_idle, duration, shown),
    one!(
        "timeouts.tunnelIdle",
        "a connection that was upgraded (WebSocket) and is silent",
        proxy.timeouts.tunnel_idle,
        duration,
        shown
    ),
    one!(
        "timeouts.l4Idle",
        "a TCP or TLS connection that is passed on",
        proxy.timeouts.l4_idle,
        duration,
        shown
    ),
    one!("timeouts.udpIdle", "a UDP session", proxy.timeouts.udp_idle, duration, shown),
    one!("timeouts.drain", "requests in flight when stopping", proxy.timeouts.drain, duration, shown),
    one!(
        "limits.headBytes",
        "a request or response head",
        proxy.limits.head_bytes_max,
        head_bytes,
        shown_bytes
    ),
    one!("limits.targetBytes", "a request target", proxy.limits.target_bytes_max, bytes, shown_bytes),
    one!("limits.headers", "header lines", proxy.limits.headers_max, count, ToString::to_string),
    one!("limits.trailerBytes", "a trailer section", proxy.limits.trailer_bytes_max, bytes, shown_bytes),
    list!("trustedProxies", "networks whose forwarding headers are believed", proxy.trusted_proxies, network),
    one!(
        "forwardedHeaders",
        "add X-Forwarded-For and -Proto",
        forwarded_headers,
        boolean,
        ToString::to_string
    ),
    one!(
        "reasonHeader",
        "the header in which a refusal names its reason, as x-rauta-reason, or off",
        proxy.reason_header,
        response_header_or_off,
        show_or_off
    ),
    one!(
        "paths.normalize",
        "decode what need not be escaped, and take dot segments out",
        proxy.paths.normalize,
        boolean,
        ToString::to_string
    ),
    one!(
        "paths.mergeSlashes",
        "make slashes that follow each other one",
        proxy.paths.merge_slashes,
        boolean,
        ToString::to_string
    ),
    one!(
        "paths.escapedSlashes",
        "%2F and %5C: keep, forward, redirect or reject",
        proxy.paths.escaped_slashes,
        escaped_slashes,
        show_escaped_slashes
    ),
    one!(
        "routeMetrics",
        "routes that have metrics of their own in userspace, 0 for none",
        proxy.route_metrics,
        route_metrics,
        ToString::to_string
    ),
    one!(
        "requestId",
        "the header that holds a request's id, as x-request-id, or off",
        proxy.ids.request_id_header,
        header_or_off,
        show_or_off
    ),
    one!(
        "accessLog.path",
        "where requests are logged: a file, stdout or off",
        access_log.target,
        access_log,
        show_access_log
    ),
    one!(
        "accessLog.format",
        "json, or text with fields as $status",
        access_log.format,
        access_log_format,
        ToString::to_string
    ),
    one!(
        "accessLog.sampleOneIn",
        "one of so many requests is logged; those that failed always",
        access_log.sample_one_in,
        one_in,
        ToString::to_string
    ),
    one!(
        "accessLog.kernelSampleOneIn",
        "one of so many requests that the kernel decides is logged, and those that failed always; or off",
        access_log.kernel_one_in,
        one_in_or_off,
        show_one_in_or_off
    ),
    one!(
        "accessLog.complete",
        "whether the kernel leaves all requests to userspace, which logs them",
        access_log.is_complete,
        boolean,
        ToString::to_string
    ),
    one!(
        "tracing.context",
        "continue and begin W3C trace contexts",
        proxy.ids.trace_context,
        boolean,
        ToString::to_string
    ),
    one!(
        "tracing.endpoint",
        "the collector that gets spans by OTLP over HTTP, as http://127.0.0.1:4318, or off",
        collector,
        collector,
        show_collector
    ),
    one!(
        "tracing.sampleOneIn",
        "of so many traces that begin here, one is recorded",
        proxy.ids.sample_one_in,
        one_in,
        ToString::to_string
    ),
    one!(
        "sessionKeyFile",
        "the key of session persistence, the same on all gateways, or off",
        session_key_file,
        path_or_off,
        show_path_or_off
    ),
    one!(
        "balancing.maglevTableSize",
        "slots of a Maglev table unless a rule says otherwise, a prime",
        maglev_table_size,
        maglev_table_size,
        ToString::to_string
    ),
    one!(
        "endpoints.allowLocal",
        "loopback endpoints; auto: from files yes, from a cluster no",
        allow_local_endpoints,
        boolean_or_auto,
        show_or_auto
    ),
    one!(
        "dataplane.hook",
        "kernel programs: auto, xdp, tc or off",
        dataplane.hook,
        hook,
        ToString::to_string
    ),
    one!(
        "dataplane.xdpMode",
        "where XDP programs run: auto, native, skb or hw",
        dataplane.xdp_mode,
        xdp_mode,
        ToString::to_string
    ),
    list!("dataplane.interfaces", "interfaces for them; none named: all", dataplane.interfaces, interface),
    one!("dataplane.pinRoot", "where they are pinned", dataplane.pin_root, path, show_path),
    one!("dataplane.onExit", "detach or keep them", dataplane.on_exit, on_exit, show_on_exit),
    one!(
        "dataplane.forward",
        "how the kernel sends on: redirect, or off",
        dataplane.forward,
        forward,
        show_forward
    ),
    one!(
        "dataplane.policy",
        "network policy, which redirecting passes by: auto, ignore or respect",
        dataplane.policy,
        policy,
        show_policy
    ),
    one!(
        "dataplane.snat.ports",
        "ports of the kernel's connections to endpoints",
        dataplane.snat_ports,
        ports,
        ToString::to_string
    ),
    list!(
        "dataplane.snat.addresses",
        "their own addresses; none of a family: as routes say",
        dataplane.snat_addresses,
        address
    ),
    one!(
        "dataplane.heartbeatTimeout",
        "how long they route without an agent",
        dataplane.heartbeat_timeout,
        duration,
        shown
    ),
    one!(
        "dataplane.idleTimeout",
        "a connection in the kernel without a request",
        dataplane.ends.idle,
        duration,
        shown
    ),
    one!(
        "dataplane.openTimeout",
        "an endpoint that does not answer its SYN",
        dataplane.ends.opening,
        duration,
        shown
    ),
    one!(
        "dataplane.answerTimeout",
        "a connection that waits for an answer, without a segment of either side",
        dataplane.ends.waiting,
        duration,
        shown
    ),
    one!(
        "dataplane.halfClosedTimeout",
        "a connection that one side has closed",
        dataplane.ends.half_closed,
        duration,
        shown
    ),
    one!(
        "dataplane.orphanTimeout",
        "an answer that is under way when its endpoint is taken out",
        dataplane.ends.orphaned,
        duration,
        shown
    ),
    one!(
        "dataplane.redrawAfter",
        "requests after which a connection's backend is drawn anew",
        dataplane.redraw_after,
        redraw_after,
        ToString::to_string
    ),
    one!(
        "dataplane.poolIdle",
        "how long a connection to an endpoint waits in the kernel for the next client, or off",
        dataplane.pool_idle,
        pool_idle,
        show_pool_idle
    ),
    one!(
        "dataplane.poolLegs",
        "connections that wait, for each endpoint and kind of client",
        dataplane.pool_legs,
        pool_legs,
        ToString::to_string
    ),
    one!(
        "dataplane.closeAfter",
        "requests after which userspace closes a connection that the kernel gave it",
        dataplane.close_after,
        requests,
        ToString::to_string
    ),
    one!(
        "dataplane.maxFlows",
        "connections in the kernel at once",
        dataplane.max_flows,
        max_flows,
        ToString::to_string
    ),
    one!(
        "dataplane.routeMetrics",
        "routes that have kernel metrics of their own, 0 for none",
        dataplane.route_metrics,
        counted_routes,
        ToString::to_string
    ),
    one!(
        "dataplane.endpointMetrics",
        "endpoints that have kernel metrics of their own, 0 for none",
        dataplane.endpoint_metrics,
        counted_endpoints,
        ToString::to_string
    ),
    one!(
        "dataplane.affinity.entries",
        "clients whose endpoint is remembered, on routes that want it",
        dataplane.affinity_entries,
        affinity_entries,
        ToString::to_string
    ),
    one!(
        "dataplane.tables.hosts",
        "room for host names and suffixes in the kernel, at first and at most",
        dataplane.tables.hosts,
        room,
        ToString::to_string
    ),
    one!("dataplane.tables.routes", "for exact paths", dataplane.tables.routes, room, ToString::to_string),
    one!("dataplane.tables.prefixes", "for prefixes", dataplane.tables.prefixes, room, ToString::to_string),
    one!(
        "dataplane.tables.candidates",
        "for matches",
        dataplane.tables.candidates,
        room,
        ToString::to_string
    ),
    one!(
        "dataplane.tables.conditions",
        "for matches on headers",
        dataplane.tables.conditions,
        room,
        ToString::to_string
    ),
    one!("dataplane.tables.actions", "for rules", dataplane.tables.actions, room, ToString::to_string),
    one!("dataplane.tables.backends", "for backends", dataplane.tables.backends, room, ToString::to_string),
    one!(
        "dataplane.tables.maglev",
        "for different sets of endpoints",
        dataplane.tables.maglev,
        room,
        ToString::to_string
    ),
    one!(
        "dataplane.tables.endpoints",
        "for endpoints",
        dataplane.tables.endpoints,
        endpoint_room,
        ToString::to_string
    ),
    one!(
        "dataplane.tables.members",
        "for endpoints of backends whose clients keep theirs",
        dataplane.tables.members,
        room,
        ToString::to_string
    ),
];
