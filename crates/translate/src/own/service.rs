use std::net::IpAddr;

use model::ProxyProtocol;
use resources::core::{EndpointSlice, Service};

use crate::report::Report;
use crate::{affinity, pattern};

/// The label that ties an EndpointSlice to its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The version of the PROXY protocol that a Service's endpoints speak: an annotation.
const PROXY_PROTOCOL: &str = "rauta.io/proxy-protocol";

/// Checks what a Service says by itself.
pub(crate) fn check(service: &Service, report: &mut Report<'_>) {
    let Some(spec) = &service.spec else {
        report.invalid("spec", "is missing: a Service needs ports");
        return;
    };
    for (i, port) in spec.ports.iter().flatten().enumerate() {
        pattern::port(port.port, format!("spec.ports[{i}].port"), report);
    }
    affinity::check(service, report);
    proxy_protocol(service, report);
}

/// What its endpoints are told first on a connection over TCP.
pub(crate) fn proxy_protocol(service: &Service, report: &mut Report<'_>) -> Option<ProxyProtocol> {
    let annotations = service.metadata.annotations.as_ref();
    match annotations.and_then(|all| all.get(PROXY_PROTOCOL)).map(String::as_str) {
        None => None,
        Some("v1") => Some(ProxyProtocol::V1),
        Some("v2") => Some(ProxyProtocol::V2),
        Some(other) => {
            let message = format!("{other:?} is no version of the PROXY protocol: write \"v1\" or \"v2\"");
            report.invalid(format!("metadata.annotations[{PROXY_PROTOCOL}]"), message);
            None
        }
    }
}

/// Checks what an EndpointSlice says by itself.
pub(crate) fn check_slice(slice: &EndpointSlice, report: &mut Report<'_>) {
    let is_v6 = match slice.address_type.as_str() {
        "IPv4" => false,
        "IPv6" => true,
        "FQDN" => return,
        other => {
            report.invalid("addressType", format!("{other:?} is none of IPv4, IPv6 and FQDN"));
            return;
        }
    };
    for (i, port) in slice.ports.iter().flatten().enumerate() {
        if let Some(number) = port.port {
            pattern::port(number, format!("ports[{i}].port"), report);
        }
    }
    for (i, endpoint) in slice.endpoints.iter().flatten().enumerate() {
        if endpoint.addresses.is_empty() {
            report.invalid(format!("endpoints[{i}].addresses"), "is empty: write one address");
        }
        for (j, text) in endpoint.addresses.iter().enumerate() {
            let field = format!("endpoints[{i}].addresses[{j}]");
            match text.parse::<IpAddr>() {
                Ok(address) if address.is_ipv6() != is_v6 => {
                    report.invalid(field, format!("{text:?} is no {} address", slice.address_type));
                }
                Ok(address) => {
                    if let Some(problem) = pattern::address_problem(address) {
                        report.invalid(field, format!("{text:?} {problem}, which can be no endpoint"));
                    }
                }
                Err(_) => report.invalid(field, format!("{text:?} is no IP address")),
            }
        }
    }
}
