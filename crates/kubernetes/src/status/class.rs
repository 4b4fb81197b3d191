use model::ObjectRef;
use serde_json::{Value, json};

use super::Reach;
use super::condition::{condition, open_condition};
use super::facts::Facts;

/// What the gateway does of the Gateway API v1.6.1, by the names of `pkg/features`, sorted: the API asks for that.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructurePropagation",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// Those that need addresses to give.
const OF_POOLS: &[&str] = &["GatewayAddressEmpty", "GatewayStaticAddresses"];

/// The status of a GatewayClass of ours.
pub(super) fn status(_: &ObjectRef, class: &Value, facts: &Facts<'_>) -> Option<Value> {
    if class["spec"]["controllerName"] != *facts.controller {
        return None;
    }
    let generation = &class["metadata"]["generation"];
    let (holds, reason, message) = match class["spec"].get("parametersRef") {
        None => (true, "Accepted", "Gateways of this class are served"),
        Some(_) => (false, "InvalidParameters", "spec.parametersRef: no parameters are known: leave it out"),
    };
    let (is_supported, release) = &facts.support;
    // What is not there is served as far as it goes, so the class is accepted all the same.
    let why = match is_supported {
        Some(true) => "SupportedVersion",
        Some(false) => "UnsupportedVersion",
        None => "Unreadable",
    };
    let version = open_condition("SupportedVersion", (*is_supported, why), release, generation);
    let can = |name: &&&str| matches!(facts.reach, Reach::Assigned { .. }) || !OF_POOLS.contains(name);
    let features: Vec<_> = FEATURES.iter().filter(can).map(|name| json!({"name": name})).collect();
    Some(json!({
        "conditions": [condition("Accepted", (holds, reason), message, generation), version],
        "supportedFeatures": features,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_sorted_and_no_more_than_the_api_takes() {
        assert!(FEATURES.is_sorted(), "{FEATURES:?}");
        assert!(FEATURES.len() <= 64);
    }
}
