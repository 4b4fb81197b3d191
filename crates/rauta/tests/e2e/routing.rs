//! Which endpoint a request reaches: Gateway API, Ingress and RoutingRule, over real sockets.

use std::collections::BTreeMap;

use testkit::Connection;

use crate::manifests::{GATEWAY, documents, route, service};
use crate::world::World;

/// Sends `request` (method, host, path, more header lines) and says `status endpoint`.
fn outcome(world: &World, (method, host, path, more): (&str, &str, &str, &str)) -> String {
    let mut connection = Connection::open(world.lab.client(), world.gateway.address()).unwrap();
    let response =
        connection.request(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).unwrap();
    format!("{} {}", response.status, response.endpoint().unwrap_or("-"))
}

#[test]
fn gateway_api_routes_by_host_path_method_header_and_query() {
    let manifest = documents(&[
        GATEWAY,
        &service("s0", &[0]),
        &service("s1", &[1]),
        &service("s2", &[2]),
        &route(
            "exact-host",
            &["shop.example"],
            &[
                ("[{path: {type: PathPrefix, value: /}}]", "[{name: s0, port: 80}]"),
                ("[{path: {type: PathPrefix, value: /api}}]", "[{name: s1, port: 80}]"),
                ("[{path: {type: Exact, value: /api/health}}]", "[{name: s2, port: 80}]"),
                ("[{path: {type: PathPrefix, value: /api}, method: POST}]", "[{name: s2, port: 80}]"),
                (
                    "[{path: {type: PathPrefix, value: /api}, headers: [{name: X-Version, value: \"2\"}]}]",
                    "[{name: s0, port: 80}]",
                ),
                (
                    "[{path: {type: PathPrefix, value: /find}, queryParams: [{name: q, value: \"a b\"}]}]",
                    "[{name: s1, port: 80}]",
                ),
                ("[{path: {type: RegularExpression, value: \"/v[0-9]+/.*\"}}]", "[{name: s2, port: 80}]"),
            ],
        ),
        &route("wildcard-host", &["*.example"], &[("", "[{name: s1, port: 80}]")]),
        &route("only-get", &["get.test"], &[("[{method: GET}]", "[{name: s0, port: 80}]")]),
    ]);
    let world = World::with(3, &manifest);
    for (request, expected) in [
        (("GET", "shop.example", "/", ""), "200 b0"),
        (("GET", "SHOP.example:8080", "/x?y", ""), "200 b0"),
        (("GET", "shop.example", "/api", ""), "200 b1"),
        (("GET", "shop.example", "/api/users", ""), "200 b1"),
        (("GET", "shop.example", "/apix", ""), "200 b0"),
        (("GET", "shop.example", "/api/health", ""), "200 b2"),
        (("GET", "shop.example", "/api/health/", ""), "200 b1"),
        (("POST", "shop.example", "/api/users", "Content-Length: 0\r\n"), "200 b2"),
        (("GET", "shop.example", "/api/users", "x-version: 2\r\n"), "200 b0"),
        (("GET", "shop.example", "/api/users", "x-version: 3\r\n"), "200 b1"),
        (("GET", "shop.example", "/find?q=a%20b", ""), "200 b1"),
        (("GET", "shop.example", "/find?q=a", ""), "200 b0"),
        (("GET", "other.example", "/api", ""), "200 b1"),
        (("GET", "a.b.example", "/", ""), "200 b1"),
        (("GET", "example", "/", ""), "404 -"),
        (("GET", "get.test", "/", ""), "200 b0"),
        (("DELETE", "get.test", "/", ""), "404 -"),
        (("GET", "unknown.test", "/", ""), "404 -"),
    ] {
        assert_eq!(outcome(&world, request), expected, "{request:?}");
    }
}

#[test]
fn a_regular_expression_is_tried_after_longer_forms_only() {
    let manifest = documents(&[
        GATEWAY,
        &service("s0", &[0]),
        &service("s1", &[1]),
        &route(
            "r",
            &[],
            &[
                ("[{path: {type: RegularExpression, value: \"/v[0-9]+/.*\"}}]", "[{name: s1, port: 80}]"),
                ("[{path: {type: PathPrefix, value: /v1/users}}]", "[{name: s0, port: 80}]"),
            ],
        ),
    ]);
    let world = World::with(2, &manifest);
    assert_eq!(outcome(&world, ("GET", "a", "/v1/users", "")), "200 b0");
    assert_eq!(outcome(&world, ("GET", "a", "/v1/items", "")), "200 b1");
    assert_eq!(outcome(&world, ("GET", "a", "/vx/items", "")), "404 -");
}

#[test]
fn weights_share_requests_out_and_zero_gets_none() {
    let manifest = documents(&[
        GATEWAY,
        &service("s0", &[0]),
        &service("s1", &[1]),
        &service("s2", &[2]),
        &route(
            "r",
            &[],
            &[(
                "",
                "[{name: s0, port: 80, weight: 90}, {name: s1, port: 80, weight: 10}, {name: s2, port: 80, weight: 0}]",
            )],
        ),
    ]);
    let world = World::with(3, &manifest);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut connection = world.connect();
    for _ in 0..1000 {
        let response = connection.get("a", "/128").unwrap();
        *seen.entry(response.endpoint().unwrap().to_owned()).or_default() += 1;
    }
    // 100 are expected; 10 standard deviations of a fair draw are 95 either way.
    let canary = seen.get("b1").copied().unwrap_or(0);
    assert!((30..=200).contains(&canary), "{seen:?}");
    assert_eq!(seen.get("b2"), None, "{seen:?}");
}

#[test]
fn endpoints_of_a_service_share_its_requests_on_one_connection() {
    let world = World::with(3, &crate::manifests::all_to(&[0, 1, 2]));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut connection = world.connect();
    for _ in 0..300 {
        let response = connection.get("a", "/128").unwrap();
        *seen.entry(response.endpoint().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.values().all(|&count| count >= 30), "{seen:?}");
}

#[test]
fn ingress_path_types_and_the_default_backend() {
    let ingress = "\
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: rauta}
spec: {controller: rauta.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: default}
spec:
  ingressClassName: rauta
  defaultBackend: {service: {name: s2, port: {number: 80}}}
  rules:
  - host: shop.example
    http:
      paths:
      - {path: /cart, pathType: Exact, backend: {service: {name: s0, port: {name: http}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: s1, port: {number: 80}}}}
  - host: \"*.wild.example\"
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: s0, port: {number: 80}}}}]
";
    let manifest = documents(&[&service("s0", &[0]), &service("s1", &[1]), &service("s2", &[2]), ingress]);
    let world = World::with(3, &manifest);
    for (request, expected) in [
        (("GET", "shop.example", "/cart", ""), "200 b0"),
        (("GET", "shop.example", "/cart/", ""), "200 b2"),
        (("GET", "shop.example", "/api", ""), "200 b1"),
        (("GET", "shop.example", "/api/", ""), "200 b1"),
        (("GET", "shop.example", "/apis", ""), "200 b2"),
        (("GET", "a.wild.example", "/x", ""), "200 b0"),
        (("GET", "a.b.wild.example", "/x", ""), "200 b2"),
        (("GET", "other.example", "/", ""), "200 b2"),
    ] {
        assert_eq!(outcome(&world, request), expected, "{request:?}");
    }
}

#[test]
fn the_known_routing_rule_applies_unchanged() {
    let rule = "\
apiVersion: rauta.io/v1
kind: RoutingRule
metadata: {name: users, namespace: default}
spec:
  tier: 1
  match:
    method: GET
    path: {type: Exact, value: /api/v2/users}
    headers: [{name: X-API-Version, value: \"2\"}]
  backends:
  - {endpoint: \"10.77.1.11:8080\", weight: 100}
  - {endpoint: \"10.77.1.12:8080\", weight: 0}
  maglev: {tableSize: 4099}
";
    let world = World::with(2, rule);
    for (request, expected) in [
        (("GET", "any.example", "/api/v2/users", "X-API-Version: 2\r\n"), "200 b0"),
        (("GET", "any.example", "/api/v2/users", ""), "404 -"),
        (("POST", "any.example", "/api/v2/users", "X-API-Version: 2\r\nContent-Length: 0\r\n"), "404 -"),
        (("GET", "any.example", "/api/v2/users/", "X-API-Version: 2\r\n"), "404 -"),
    ] {
        assert_eq!(outcome(&world, request), expected, "{request:?}");
    }
}

#[test]
fn listeners_tell_hosts_apart_on_one_port() {
    let gateway = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: rauta
  listeners:
  - {name: shop, protocol: HTTP, port: 8080, hostname: shop.example}
  - {name: rest, protocol: HTTP, port: 8080}
";
    let shop_only = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: default}
spec:
  parentRefs: [{name: gw, sectionName: shop}]
  rules: [{matches: [{path: {type: PathPrefix, value: /cart}}], backendRefs: [{name: s0, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rest, namespace: default}
spec:
  parentRefs: [{name: gw, sectionName: rest}]
  rules: [{backendRefs: [{name: s1, port: 80}]}]
";
    let manifest = documents(&[gateway, &service("s0", &[0]), &service("s1", &[1]), shop_only]);
    let world = World::with(2, &manifest);
    for (request, expected) in [
        (("GET", "shop.example", "/cart", ""), "200 b0"),
        (("GET", "shop.example", "/other", ""), "404 -"),
        (("GET", "other.example", "/cart", ""), "200 b1"),
    ] {
        assert_eq!(outcome(&world, request), expected, "{request:?}");
    }
}

#[test]
fn clients_over_ipv6_are_served_alike() {
    let world = World::simple();
    let address = (testkit::Addresses::GATEWAY_V6, testkit::GATEWAY_PORT).into();
    let answer = Connection::open(world.lab.client(), address).unwrap().get("a", "/hello").unwrap();
    assert!(answer.text().contains("x-forwarded-for=fd77::2\n"), "{answer:?}");
}
