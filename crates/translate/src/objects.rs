use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use model::{ObjectKind, ObjectRef};
use resources::core::{ConfigMap, EndpointSlice, Ingress, IngressClass, Namespace, Secret, Service};
use resources::gateway::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute,
    TlsRoute, UdpRoute,
};
use resources::{BackendPolicy, RoutePolicy, RoutingRule};

use crate::own::service::SERVICE_NAME;
use crate::{Object, Options};

/// The objects in force, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) gateway_classes: BTreeMap<ObjectRef, Arc<GatewayClass>>,
    pub(crate) gateways: BTreeMap<ObjectRef, Arc<Gateway>>,
    pub(crate) http_routes: BTreeMap<ObjectRef, Arc<HttpRoute>>,
    pub(crate) grpc_routes: BTreeMap<ObjectRef, Arc<GrpcRoute>>,
    pub(crate) tcp_routes: BTreeMap<ObjectRef, Arc<TcpRoute>>,
    pub(crate) tls_routes: BTreeMap<ObjectRef, Arc<TlsRoute>>,
    pub(crate) udp_routes: BTreeMap<ObjectRef, Arc<UdpRoute>>,
    pub(crate) listener_sets: BTreeMap<ObjectRef, Arc<ListenerSet>>,
    pub(crate) reference_grants: BTreeMap<ObjectRef, Arc<ReferenceGrant>>,
    pub(crate) namespaces: BTreeMap<ObjectRef, Arc<Namespace>>,
    pub(crate) ingress_classes: BTreeMap<ObjectRef, Arc<IngressClass>>,
    pub(crate) ingresses: BTreeMap<ObjectRef, Arc<Ingress>>,
    pub(crate) routing_rules: BTreeMap<ObjectRef, Arc<RoutingRule>>,
    pub(crate) services: BTreeMap<ObjectRef, Arc<Service>>,
    pub(crate) endpoint_slices: BTreeMap<ObjectRef, Arc<EndpointSlice>>,
    pub(crate) secrets: BTreeMap<ObjectRef, Arc<Secret>>,
    pub(crate) config_maps: BTreeMap<ObjectRef, Arc<ConfigMap>>,
    pub(crate) backend_tls_policies: BTreeMap<ObjectRef, Arc<BackendTlsPolicy>>,
    pub(crate) route_policies: BTreeMap<ObjectRef, Arc<RoutePolicy>>,
    pub(crate) backend_policies: BTreeMap<ObjectRef, Arc<BackendPolicy>>,
    /// The addresses that Gateways were given; empty: all.
    pub(crate) assigned: BTreeMap<ObjectRef, Vec<IpAddr>>,
    /// The slices of each Service.
    slices: HashMap<ObjectRef, BTreeSet<ObjectRef>>,
}

/// What a Gateway was given to listen on; empty: all addresses, none: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assigned<'a>(pub(crate) Option<&'a [IpAddr]>);

impl Objects {
    pub(crate) fn insert(&mut self, key: ObjectRef, object: Object) {
        match object {
            Object::GatewayClass(object) => drop(self.gateway_classes.insert(key, object)),
            Object::Gateway(object) => drop(self.gateways.insert(key, object)),
            Object::HttpRoute(object) => drop(self.http_routes.insert(key, object)),
            Object::GrpcRoute(object) => drop(self.grpc_routes.insert(key, object)),
            Object::TcpRoute(object) => drop(self.tcp_routes.insert(key, object)),
            Object::TlsRoute(object) => drop(self.tls_routes.insert(key, object)),
            Object::UdpRoute(object) => drop(self.udp_routes.insert(key, object)),
            Object::ListenerSet(object) => drop(self.listener_sets.insert(key, object)),
            Object::ReferenceGrant(object) => drop(self.reference_grants.insert(key, object)),
            Object::Namespace(object) => drop(self.namespaces.insert(key, object)),
            Object::IngressClass(object) => drop(self.ingress_classes.insert(key, object)),
            Object::Ingress(object) => drop(self.ingresses.insert(key, object)),
            Object::RoutingRule(object) => drop(self.routing_rules.insert(key, object)),
            Object::Service(object) => drop(self.services.insert(key, object)),
            Object::EndpointSlice(object) => {
                self.remove(&key);
                if let Some(service) = service_of(&key, &object) {
                    self.slices.entry(service).or_default().insert(key.clone());
                }
                self.endpoint_slices.insert(key, object);
            }
            Object::Secret(object) => drop(self.secrets.insert(key, object)),
            Object::ConfigMap(object) => drop(self.config_maps.insert(key, object)),
            Object::BackendTlsPolicy(object) => drop(self.backend_tls_policies.insert(key, object)),
            Object::RoutePolicy(object) => drop(self.route_policies.insert(key, object)),
            Object::BackendPolicy(object) => drop(self.backend_policies.insert(key, object)),
        }
    }

    /// What a Gateway was given to listen on, if Gateways are given that.
    pub(crate) fn assigned_to(&self, gateway: &ObjectRef, options: &Options) -> Option<Assigned<'_>> {
        options.assigns_addresses.then(|| Assigned(self.assigned.get(gateway).map(Vec::as_slice)))
    }

    pub(crate) fn remove(&mut self, key: &ObjectRef) -> bool {
        match key.kind {
            ObjectKind::GatewayClass => self.gateway_classes.remove(key).is_some(),
            ObjectKind::Gateway => self.gateways.remove(key).is_some(),
            ObjectKind::HttpRoute => self.http_routes.remove(key).is_some(),
            ObjectKind::GrpcRoute => self.grpc_routes.remove(key).is_some(),
            ObjectKind::TcpRoute => self.tcp_routes.remove(key).is_some(),
            ObjectKind::TlsRoute => self.tls_routes.remove(key).is_some(),
            ObjectKind::UdpRoute => self.udp_routes.remove(key).is_some(),
            ObjectKind::ListenerSet => self.listener_sets.remove(key).is_some(),
            ObjectKind::ReferenceGrant => self.reference_grants.remove(key).is_some(),
            ObjectKind::Namespace => self.namespaces.remove(key).is_some(),
            ObjectKind::IngressClass => self.ingress_classes.remove(key).is_some(),
            ObjectKind::Ingress => self.ingresses.remove(key).is_some(),
            ObjectKind::RoutingRule => self.routing_rules.remove(key).is_some(),
            ObjectKind::Service => self.services.remove(key).is_some(),
            ObjectKind::EndpointSlice => {
                let service = self.service_of(key);
                let slices = service.as_ref().and_then(|service| self.slices.get_mut(service));
                if let (Some(slices), Some(service)) = (slices, &service) {
                    slices.remove(key);
                    if slices.is_empty() {
                        self.slices.remove(service);
                    }
                }
                self.endpoint_slices.remove(key).is_some()
            }
            ObjectKind::Secret => self.secrets.remove(key).is_some(),
            ObjectKind::ConfigMap => self.config_maps.remove(key).is_some(),
            ObjectKind::BackendTlsPolicy => self.backend_tls_policies.remove(key).is_some(),
            ObjectKind::RoutePolicy => self.route_policies.remove(key).is_some(),
            ObjectKind::BackendPolicy => self.backend_policies.remove(key).is_some(),
        }
    }

    /// The slices of a Service, by name.
    pub(crate) fn slices_of(&self, service: &ObjectRef) -> Vec<&EndpointSlice> {
        let keys = self.slices.get(service).into_iter().flatten();
        keys.filter_map(|key| self.endpoint_slices.get(key)).map(|slice| &**slice).collect()
    }

    /// The Services that have slices.
    pub(crate) fn services_with_slices(&self) -> impl Iterator<Item = &ObjectRef> {
        self.slices.keys()
    }

    /// The Service of a slice that is there.
    pub(crate) fn service_of(&self, slice: &ObjectRef) -> Option<ObjectRef> {
        service_of(slice, self.endpoint_slices.get(slice)?)
    }

    pub(crate) fn contains(&self, key: &ObjectRef) -> bool {
        match key.kind {
            ObjectKind::GatewayClass => self.gateway_classes.contains_key(key),
            ObjectKind::Gateway => self.gateways.contains_key(key),
            ObjectKind::HttpRoute => self.http_routes.contains_key(key),
            ObjectKind::GrpcRoute => self.grpc_routes.contains_key(key),
            ObjectKind::TcpRoute => self.tcp_routes.contains_key(key),
            ObjectKind::TlsRoute => self.tls_routes.contains_key(key),
            ObjectKind::UdpRoute => self.udp_routes.contains_key(key),
            ObjectKind::ListenerSet => self.listener_sets.contains_key(key),
            ObjectKind::ReferenceGrant => self.reference_grants.contains_key(key),
            ObjectKind::Namespace => self.namespaces.contains_key(key),
            ObjectKind::IngressClass => self.ingress_classes.contains_key(key),
            ObjectKind::Ingress => self.ingresses.contains_key(key),
            ObjectKind::RoutingRule => self.routing_rules.contains_key(key),
            ObjectKind::Service => self.services.contains_key(key),
            ObjectKind::EndpointSlice => self.endpoint_slices.contains_key(key),
            ObjectKind::Secret => self.secrets.contains_key(key),
            ObjectKind::ConfigMap => self.config_maps.contains_key(key),
            ObjectKind::BackendTlsPolicy => self.backend_tls_policies.contains_key(key),
            ObjectKind::RoutePolicy => self.route_policies.contains_key(key),
            ObjectKind::BackendPolicy => self.backend_policies.contains_key(key),
        }
    }
}

/// The Service that the slice's label names, in its namespace.
fn service_of(key: &ObjectRef, slice: &EndpointSlice) -> Option<ObjectRef> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectRef::new(ObjectKind::Service, &key.namespace, name))
}
