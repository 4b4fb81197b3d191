use std::sync::Arc;

use kube::Resource;
use kube::core::ObjectMeta;
use model::{ObjectKind, ObjectRef};
use resources::core::{ConfigMap, EndpointSlice, Ingress, IngressClass, Namespace, Secret, Service};
use resources::gateway::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute,
    TlsRoute, UdpRoute,
};
use resources::strict::{self, FieldError};
use resources::{BackendPolicy, RoutePolicy, RoutingRule};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::own::route_policy;

/// One object of a kind that the gateway reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `gateway.networking.k8s.io/v1` GatewayClass.
    GatewayClass(Arc<GatewayClass>),
    /// `gateway.networking.k8s.io/v1` Gateway.
    Gateway(Arc<Gateway>),
    /// `gateway.networking.k8s.io/v1` HTTPRoute.
    HttpRoute(Arc<HttpRoute>),
    /// `gateway.networking.k8s.io/v1` GRPCRoute.
    GrpcRoute(Arc<GrpcRoute>),
    /// `gateway.networking.k8s.io/v1` TCPRoute.
    TcpRoute(Arc<TcpRoute>),
    /// `gateway.networking.k8s.io/v1` TLSRoute.
    TlsRoute(Arc<TlsRoute>),
    /// `gateway.networking.k8s.io/v1` UDPRoute.
    UdpRoute(Arc<UdpRoute>),
    /// `gateway.networking.k8s.io/v1` ListenerSet.
    ListenerSet(Arc<ListenerSet>),
    /// `gateway.networking.k8s.io/v1` ReferenceGrant.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// `v1` Namespace.
    Namespace(Arc<Namespace>),
    /// `networking.k8s.io/v1` IngressClass.
    IngressClass(Arc<IngressClass>),
    /// `networking.k8s.io/v1` Ingress.
    Ingress(Arc<Ingress>),
    /// `rauta.io/v1` RoutingRule.
    RoutingRule(Arc<RoutingRule>),
    /// `v1` Service.
    Service(Arc<Service>),
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// `v1` Secret.
    Secret(Arc<Secret>),
    /// `v1` ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// `gateway.networking.k8s.io/v1` BackendTLSPolicy.
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    /// `rauta.io/v1` RoutePolicy.
    RoutePolicy(Arc<RoutePolicy>),
    /// `rauta.io/v1` BackendPolicy.
    BackendPolicy(Arc<BackendPolicy>),
}

/// Why an apiVersion and kind are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKind {
    /// A kind that we read, in another version.
    #[error("the gateway reads this kind as apiVersion {0}")]
    OtherVersion(&'static str),
    /// A kind of Kubernetes or the Gateway API that may stand beside ours in a folder and has no part in routing.
    #[error("the gateway does not read this kind")]
    NotNeeded,
    /// A route or policy kind that this version does not serve.
    #[error("this version of the gateway does not serve this kind")]
    NotYet,
    /// Not a kind that is known here.
    #[error(
        "the gateway knows no such kind; it reads GatewayClass, Gateway, ListenerSet, HTTPRoute, GRPCRoute, TCPRoute, TLSRoute, UDPRoute, ReferenceGrant, BackendTLSPolicy, Namespace, IngressClass, Ingress, \
         RoutingRule, RoutePolicy, BackendPolicy, Service, EndpointSlice, Secret and ConfigMap"
    )]
    Unknown,
}

const KINDS: [(ObjectKind, &str); 20] = [
    (ObjectKind::GatewayClass, "gateway.networking.k8s.io/v1"),
    (ObjectKind::Gateway, "gateway.networking.k8s.io/v1"),
    (ObjectKind::HttpRoute, "gateway.networking.k8s.io/v1"),
    (ObjectKind::GrpcRoute, "gateway.networking.k8s.io/v1"),
    (ObjectKind::TcpRoute, "gateway.networking.k8s.io/v1"),
    (ObjectKind::TlsRoute, "gateway.networking.k8s.io/v1"),
    (ObjectKind::UdpRoute, "gateway.networking.k8s.io/v1"),
    (ObjectKind::ListenerSet, "gateway.networking.k8s.io/v1"),
    (ObjectKind::ReferenceGrant, "gateway.networking.k8s.io/v1"),
    (ObjectKind::Namespace, "v1"),
    (ObjectKind::IngressClass, "networking.k8s.io/v1"),
    (ObjectKind::Ingress, "networking.k8s.io/v1"),
    (ObjectKind::RoutingRule, "rauta.io/v1"),
    (ObjectKind::Service, "v1"),
    (ObjectKind::EndpointSlice, "discovery.k8s.io/v1"),
    (ObjectKind::Secret, "v1"),
    (ObjectKind::ConfigMap, "v1"),
    (ObjectKind::BackendTlsPolicy, "gateway.networking.k8s.io/v1"),
    (ObjectKind::RoutePolicy, "rauta.io/v1"),
    (ObjectKind::BackendPolicy, "rauta.io/v1"),
];

/// What the gateway would have to act on, and does not: leaving these out changes what clients get.
const NOT_YET: [&str; 2] = ["XListenerSet", "XBackendTrafficPolicy"];

/// The other kinds of the groups that ours are in: any further name there is a slip of the pen.
const NEIGHBOURS: [(&str, &[&str]); 2] = [
    (
        "v1",
        &[
            "Endpoints",
            "Event",
            "LimitRange",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "ServiceAccount",
        ],
    ),
    ("networking.k8s.io/v1", &["IPAddress", "NetworkPolicy", "ServiceCIDR"]),
];

/// Kubernetes' other API groups: kinds in them that are not ours are harmless in a folder of manifests.
const GROUPS_OF_KUBERNETES: [&str; 10] = [
    "apps",
    "autoscaling",
    "batch",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "apiextensions.k8s.io",
    "admissionregistration.k8s.io",
];

impl Object {
    /// The kind that an `apiVersion` and `kind` of a manifest mean.
    ///
    /// # Errors
    /// [`UnknownKind`] says whether leaving the object out matters.
    pub fn kind_of(api_version: &str, kind: &str) -> Result<ObjectKind, UnknownKind> {
        if let Some((known, version)) = KINDS.iter().find(|(known, _)| known.as_str() == kind) {
            let group =
                |text: &str| text.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned());
            if api_version == *version {
                return Ok(*known);
            }
            if group(api_version) == group(version) {
                return Err(UnknownKind::OtherVersion(version));
            }
        }
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let is_neighbour =
            || NEIGHBOURS.iter().any(|(version, kinds)| *version == api_version && kinds.contains(&kind));
        if NOT_YET.contains(&kind) {
            Err(UnknownKind::NotYet)
        } else if GROUPS_OF_KUBERNETES.contains(&group) || is_neighbour() {
            Err(UnknownKind::NotNeeded)
        } else {
            Err(UnknownKind::Unknown)
        }
    }

    /// Reads an object of `kind` from JSON; one without a namespace is in `default`.
    ///
    /// # Errors
    /// All unknown fields, and the first value that does not fit.
    pub fn decode(kind: ObjectKind, value: &Value) -> Result<Self, Vec<FieldError>> {
        match Self::decode_known(kind, value)? {
            (object, unknown) if unknown.is_empty() => Ok(object),
            (_, unknown) => Err(unknown),
        }
    }

    /// Reads what is known of an object of `kind`, and says the fields that are not: what an API server keeps may be newer than
    /// this gateway.
    ///
    /// # Errors
    /// All unknown fields, and the first value that does not fit.
    pub fn decode_known(kind: ObjectKind, value: &Value) -> Result<(Self, Vec<FieldError>), Vec<FieldError>> {
        Ok(match kind {
            ObjectKind::GatewayClass => of(kind, value, Self::GatewayClass)?,
            ObjectKind::Gateway => of(kind, value, Self::Gateway)?,
            ObjectKind::HttpRoute => of(kind, value, Self::HttpRoute)?,
            ObjectKind::GrpcRoute => of(kind, value, Self::GrpcRoute)?,
            ObjectKind::TcpRoute => of(kind, value, Self::TcpRoute)?,
            ObjectKind::TlsRoute => of(kind, value, Self::TlsRoute)?,
            ObjectKind::UdpRoute => of(kind, value, Self::UdpRoute)?,
            ObjectKind::ListenerSet => of(kind, value, Self::ListenerSet)?,
            ObjectKind::ReferenceGrant => of(kind, value, Self::ReferenceGrant)?,
            ObjectKind::Namespace => of(kind, value, Self::Namespace)?,
            ObjectKind::IngressClass => of(kind, value, Self::IngressClass)?,
            ObjectKind::Ingress => of(kind, value, Self::Ingress)?,
            ObjectKind::RoutingRule => of(kind, value, Self::RoutingRule)?,
            ObjectKind::Service => of(kind, value, Self::Service)?,
            ObjectKind::EndpointSlice => of(kind, value, Self::EndpointSlice)?,
            ObjectKind::Secret => of(kind, value, Self::Secret)?,
            ObjectKind::ConfigMap => of(kind, value, Self::ConfigMap)?,
            ObjectKind::BackendTlsPolicy => of(kind, value, Self::BackendTlsPolicy)?,
            ObjectKind::RoutePolicy => of(kind, value, Self::RoutePolicy)?,
            ObjectKind::BackendPolicy => of(kind, value, Self::BackendPolicy)?,
        })
    }

    /// The apiVersion that objects of `kind` are read as.
    pub fn api_version(kind: ObjectKind) -> &'static str {
        let found = KINDS.iter().find(|(known, _)| *known == kind);
        found.map_or("", |(_, version)| version)
    }

    /// All kinds that the gateway reads.
    pub fn kinds() -> impl Iterator<Item = ObjectKind> {
        KINDS.iter().map(|(kind, _)| *kind)
    }

    /// What stands for an object that [`Object::decode`] refused: of a policy that may protect something all that can be read
    /// of its targets, which are then closed; none for other kinds, of which nothing is served.
    pub fn stand_in(kind: ObjectKind, value: &Value) -> Option<Self> {
        match kind {
            ObjectKind::RoutePolicy => Some(Self::RoutePolicy(Arc::new(route_policy::stand_in(value)?))),
            _ => None,
        }
    }

    /// What it is.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::GatewayClass(_) => ObjectKind::GatewayClass,
            Self::Gateway(_) => ObjectKind::Gateway,
            Self::HttpRoute(_) => ObjectKind::HttpRoute,
            Self::GrpcRoute(_) => ObjectKind::GrpcRoute,
            Self::TcpRoute(_) => ObjectKind::TcpRoute,
            Self::TlsRoute(_) => ObjectKind::TlsRoute,
            Self::UdpRoute(_) => ObjectKind::UdpRoute,
            Self::ListenerSet(_) => ObjectKind::ListenerSet,
            Self::ReferenceGrant(_) => ObjectKind::ReferenceGrant,
            Self::Namespace(_) => ObjectKind::Namespace,
            Self::IngressClass(_) => ObjectKind::IngressClass,
            Self::Ingress(_) => ObjectKind::Ingress,
            Self::RoutingRule(_) => ObjectKind::RoutingRule,
            Self::Service(_) => ObjectKind::Service,
            Self::EndpointSlice(_) => ObjectKind::EndpointSlice,
            Self::Secret(_) => ObjectKind::Secret,
            Self::ConfigMap(_) => ObjectKind::ConfigMap,
            Self::BackendTlsPolicy(_) => ObjectKind::BackendTlsPolicy,
            Self::RoutePolicy(_) => ObjectKind::RoutePolicy,
            Self::BackendPolicy(_) => ObjectKind::BackendPolicy,
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::GatewayClass(object) => object.meta(),
            Self::Gateway(object) => object.meta(),
            Self::HttpRoute(object) => object.meta(),
            Self::GrpcRoute(object) => object.meta(),
            Self::TcpRoute(object) => object.meta(),
            Self::TlsRoute(object) => object.meta(),
            Self::UdpRoute(object) => object.meta(),
            Self::ListenerSet(object) => object.meta(),
            Self::ReferenceGrant(object) => object.meta(),
            Self::Namespace(object) => object.meta(),
            Self::IngressClass(object) => object.meta(),
            Self::Ingress(object) => object.meta(),
            Self::RoutingRule(object) => object.meta(),
            Self::Service(object) => object.meta(),
            Self::EndpointSlice(object) => object.meta(),
            Self::Secret(object) => object.meta(),
            Self::ConfigMap(object) => object.meta(),
            Self::BackendTlsPolicy(object) => object.meta(),
            Self::RoutePolicy(object) => object.meta(),
            Self::BackendPolicy(object) => object.meta(),
        }
    }

    /// Its name; objects without a namespace are in `default`.
    pub fn key(&self) -> ObjectRef {
        let meta = self.meta();
        let namespace = meta.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        ObjectRef::new(self.kind(), namespace.unwrap_or("default"), meta.name.as_deref().unwrap_or(""))
    }
}

/// An annotation in which `kubectl apply` keeps all of the object a second time.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Reads an object without what nobody asks of it: there are thousands, and they stay in memory. Labels are asked of namespaces, by
/// listeners that select them, and of slices, which name their Service so.
fn of<T: Resource + DeserializeOwned>(
    kind: ObjectKind,
    value: &Value,
    object: impl FnOnce(Arc<T>) -> Object,
) -> Result<(Object, Vec<FieldError>), Vec<FieldError>> {
    let (mut known, unknown) = strict::decode_known::<T>(value)?;
    let meta = known.meta_mut();
    meta.managed_fields = None;
    if !matches!(kind, ObjectKind::Namespace | ObjectKind::EndpointSlice) {
        meta.labels = None;
    }
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    Ok((object(Arc::new(known)), unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_group_version_and_name() {
        let kind_of = Object::kind_of;
        assert_eq!(kind_of("v1", "Service"), Ok(ObjectKind::Service));
        assert_eq!(kind_of("gateway.networking.k8s.io/v1", "HTTPRoute"), Ok(ObjectKind::HttpRoute));
        assert_eq!(
            kind_of("gateway.networking.k8s.io/v1beta1", "HTTPRoute"),
            Err(UnknownKind::OtherVersion("gateway.networking.k8s.io/v1"))
        );
        assert_eq!(kind_of("extensions/v1beta1", "Ingress"), Err(UnknownKind::Unknown));
        assert_eq!(kind_of("serving.knative.dev/v1", "Service"), Err(UnknownKind::Unknown));
        assert_eq!(kind_of("apps/v1", "Deployment"), Err(UnknownKind::NotNeeded));
        assert_eq!(kind_of("v1", "Event"), Err(UnknownKind::NotNeeded));
        assert_eq!(kind_of("networking.k8s.io/v1", "NetworkPolicy"), Err(UnknownKind::NotNeeded));
        assert_eq!(kind_of("v1", "Servce"), Err(UnknownKind::Unknown));
        assert_eq!(kind_of("networking.k8s.io/v1", "Ingres"), Err(UnknownKind::Unknown));
        assert_eq!(kind_of("discovery.k8s.io/v1", "EndpointSlices"), Err(UnknownKind::Unknown));
        assert_eq!(kind_of("gateway.networking.k8s.io/v1", "XListenerSet"), Err(UnknownKind::NotYet));
        assert_eq!(kind_of("gateway.networking.k8s.io/v1", "HTTPRout"), Err(UnknownKind::Unknown));
    }

    #[test]
    fn what_a_newer_server_adds_is_named_and_left_out() {
        let value = serde_json::json!({"metadata": {"name": "a"}, "spec": {"novel": 1, "clusterIP": "None"}});
        let (object, unknown) = Object::decode_known(ObjectKind::Service, &value).unwrap();
        let Object::Service(service) = &object else { panic!("{object:?}") };
        let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
        assert_eq!(cluster_ip, Some("None"));
        assert_eq!(unknown.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), ["spec.novel"]);
        assert_eq!(Object::decode(ObjectKind::Service, &value), Err(unknown));
        let value = serde_json::json!({"metadata": {"name": "a"}, "spec": {"novel": 1, "clusterIP": 7}});
        assert!(Object::decode_known(ObjectKind::Service, &value).is_err());
    }

    #[test]
    fn what_nobody_asks_of_an_object_is_not_kept() {
        let of = |kind: &str, labels: bool| {
            let mut meta = serde_json::json!({
                "name": "a",
                "annotations": {LAST_APPLIED: "{}", "other": "stays"},
                "managedFields": [{"manager": "kubectl", "operation": "Update"}]
            });
            if labels {
                meta["labels"] = serde_json::json!({"app": "a"});
            }
            let value = serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": meta});
            Object::decode(Object::kind_of("v1", kind).unwrap(), &value).unwrap()
        };
        let service = of("Service", true);
        assert_eq!(service, of("Service", false), "a label is no change");
        assert!(service.meta().managed_fields.is_none());
        let annotations = service.meta().annotations.iter().flatten();
        assert_eq!(annotations.map(|(name, _)| &**name).collect::<Vec<_>>(), ["other"]);
        assert_ne!(of("Namespace", true), of("Namespace", false));
    }

    #[test]
    fn an_object_without_a_namespace_is_in_default() {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        let object = Object::decode(ObjectKind::Service, &value).unwrap();
        assert_eq!(object.key().to_string(), "Service default/a");
    }
}
