//! Objects of an API server, as a user would write them.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::cluster::Client;

pub(super) const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";

/// Any object of this name.
pub(super) fn named(name: &str, mut object: Value) -> Value {
    object["metadata"] = json!({"name": name});
    object
}

/// An object of the Gateway API.
pub(super) fn of(kind: &str, name: &str, object: Value) -> Value {
    let mut object = named(name, object);
    object["apiVersion"] = json!("gateway.networking.k8s.io/v1");
    object["kind"] = json!(kind);
    object
}

/// Creates our class, and in a namespace that it creates, too, the Gateway `web` with one listener.
pub(super) fn create_gateway(client: &Client, namespace: &str, port: u16) -> Result<()> {
    client.create("/api/v1/namespaces", &named(namespace, json!({})))?;
    let class = json!({"spec": {"controllerName": "rauta.io/gateway-controller"}});
    client.create(&format!("{GATEWAY_API}/gatewayclasses"), &of("GatewayClass", "rauta", class))?;
    let listener = json!({"name": "http", "port": port, "protocol": "HTTP"});
    let spec = json!({"spec": {"gatewayClassName": "rauta", "listeners": [listener]}});
    let gateways = format!("{GATEWAY_API}/namespaces/{namespace}/gateways");
    client.create(&gateways, &of("Gateway", "web", spec))?;
    Ok(())
}

/// Creates a Service of one endpoint.
pub(super) fn create_service(client: &Client, namespace: &str, name: &str, at: SocketAddr) -> Result<()> {
    let port = at.port();
    let spec =
        json!({"spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": port}]}});
    client.create(&format!("/api/v1/namespaces/{namespace}/services"), &named(name, spec))?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": [at.ip().to_string()]}], "ports": [{"name": "http", "port": port}],
    });
    client.create(&format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"), &slice)?;
    Ok(())
}
