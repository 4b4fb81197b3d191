#!/bin/sh
# Regenerates src/gateway/*.rs from the pinned CRDs in crds/ (kopium 0.24.1: `cargo install kopium --version 0.24.1`)
# and our own CRDs from the Rust types. Run it in this folder after changing either; commit the result.
set -eu
cd "$(dirname "$0")"
status_code='--elide HttpRouteRulesFiltersRequestRedirectStatusCode --elide HttpRouteRulesBackendRefsFiltersRequestRedirectStatusCode'
for part in backendtlspolicies:backend_tls_policy gatewayclasses:gateway_class gateways:gateway grpcroutes:grpc_route \
    httproutes:http_route listenersets:listener_set \
    referencegrants:reference_grant tcproutes:tcp_route tlsroutes:tls_route udproutes:udp_route; do
    # shellcheck disable=SC2086 # several arguments
    kopium -f "crds/gateway-api-v1.6.1/gateway.networking.k8s.io_${part%%:*}.yaml" --api-version v1 \
        --schema=disabled --derive=PartialEq $status_code |
        # An integer enum: kopium makes names of it, which an integer does not decode into.
        sed -E 's/Option<HttpRouteRules[A-Za-z]*RequestRedirectStatusCode>/Option<i64>/' |
        # The filters of a backend are those of a rule, word for word: one family of types serves both.
        awk 'BEGIN { RS = ""; ORS = "\n\n" } !/pub (struct|enum) HttpRouteRulesBackendRefsFilters/' |
        # Fields of the experimental channel, whose types are in src/gateway/experimental.rs.
        awk 'BEGIN { RS = ""; ORS = "\n\n"
                 session = "\n    #[serde(default, skip_serializing_if = \"Option::is_none\", rename = \"sessionPersistence\")]" \
                     "\n    pub session_persistence: Option<super::RouteRulesSessionPersistence>,"
             }
             /pub struct HttpRouteRules \{/ {
                 optional = "\n    #[serde(default, skip_serializing_if = \"Option::is_none\")]"
                 sub(/\n[^\n]*\n    pub timeouts/, optional "\n    pub retry: Option<super::HttpRouteRulesRetry>," session "&")
             }
             /pub struct GrpcRouteRules \{/ { sub(/\n\}$/, session "&") }
             { print }' |
        sed '/^\/\/ kopium command/!s/HttpRouteRulesBackendRefsFilters/HttpRouteRulesFilters/g' \
            > "src/gateway/${part##*:}.rs"
done
rustfmt --edition 2024 --config-path ../../rustfmt.toml src/gateway/*.rs
UPDATE_EXPECTED=1 cargo test -q -p resources --test crds
