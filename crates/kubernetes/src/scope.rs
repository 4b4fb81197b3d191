use std::fmt;
use std::sync::Arc;

use model::{ObjectKind, ObjectRef};
use translate::Object;

use crate::bundle::DEFINITION;

/// What one watch is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// All objects of a kind.
    All(ObjectKind),
    /// One object, be it there or not.
    One(ObjectRef),
    /// The cluster's nodes.
    Nodes,
    /// The Pods of a namespace.
    Pods(Arc<str>),
    /// The node that this agent runs on.
    OwnNode(Arc<str>),
    /// The definition that says which release of the Gateway API is installed.
    Definition,
}

impl Scope {
    /// The scopes that are always watched: all kinds but those of which only single objects are needed, and which hold what
    /// is not the gateway's business.
    pub(crate) fn standing() -> impl Iterator<Item = Self> {
        let is_by_name = |kind: &ObjectKind| matches!(kind, ObjectKind::Secret | ObjectKind::ConfigMap);
        Object::kinds().filter(move |kind| !is_by_name(kind)).map(Self::All)
    }

    /// The kind of objects that are served from it; none: they only say something about it.
    pub(crate) fn kind(&self) -> Option<ObjectKind> {
        match self {
            Self::All(kind) => Some(*kind),
            Self::One(key) => Some(key.kind),
            Self::Nodes | Self::Pods(_) | Self::OwnNode(_) | Self::Definition => None,
        }
    }

    /// Whether what is served follows from it.
    pub(crate) fn is_served(&self) -> bool {
        self.kind().is_some() || matches!(self, Self::OwnNode(_))
    }

    /// Whether it only adds to what is said or done without it, so that nobody waits for it who may not read it.
    pub(crate) fn is_dispensable(&self) -> bool {
        matches!(self, Self::OwnNode(_) | Self::Definition)
    }

    /// The apiVersion that its objects are read as.
    pub(crate) fn api_version(&self) -> &'static str {
        match self {
            Self::All(kind) | Self::One(ObjectRef { kind, .. }) => Object::api_version(*kind),
            Self::Nodes | Self::Pods(_) | Self::OwnNode(_) => "v1",
            Self::Definition => "apiextensions.k8s.io/v1",
        }
    }

    /// The name of the collection.
    pub(crate) fn plural(&self) -> String {
        match self {
            Self::All(kind) | Self::One(ObjectRef { kind, .. }) => plural(*kind),
            Self::Nodes | Self::OwnNode(_) => "nodes".to_owned(),
            Self::Pods(_) => "pods".to_owned(),
            Self::Definition => "customresourcedefinitions".to_owned(),
        }
    }

    /// The path of the collection in the API.
    pub(crate) fn path(&self) -> String {
        let version = self.api_version();
        let root = if version.contains('/') { "/apis" } else { "/api" };
        let plural = self.plural();
        match self {
            Self::One(key) if !key.kind.is_cluster_scoped() => {
                format!("{root}/{version}/namespaces/{}/{plural}", key.namespace)
            }
            Self::Pods(namespace) => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
            _ => format!("{root}/{version}/{plural}"),
        }
    }

    /// The field selector; none: all of the collection.
    pub(crate) fn selector(&self) -> Option<String> {
        match self {
            Self::All(_) | Self::Nodes | Self::Pods(_) => None,
            Self::One(key) => Some(format!("metadata.name={}", key.name)),
            Self::OwnNode(name) => Some(format!("metadata.name={name}")),
            Self::Definition => Some(format!("metadata.name={DEFINITION}")),
        }
    }
}

/// `Gateway (gateway.networking.k8s.io/v1)` or `Secret shop/tls`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(kind) => write!(f, "{kind} ({})", Object::api_version(*kind)),
            Self::One(key) => key.fmt(f),
            Self::Nodes => f.write_str("Node (v1)"),
            Self::Pods(namespace) => write!(f, "Pod (v1) in namespace {namespace}"),
            Self::OwnNode(name) => write!(f, "Node {name}"),
            Self::Definition => write!(f, "CustomResourceDefinition {DEFINITION}"),
        }
    }
}

/// The name of a kind's collection: in small letters, in the plural of English.
pub(crate) fn plural(kind: ObjectKind) -> String {
    let name = kind.as_str().to_ascii_lowercase();
    match name.strip_suffix('y') {
        Some(stem) if !name.ends_with("ay") => format!("{stem}ies"),
        _ if name.ends_with('s') => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_have_the_paths_of_the_api() {
        let all = |kind| Scope::All(kind).path();
        assert_eq!(all(ObjectKind::Service), "/api/v1/services");
        assert_eq!(all(ObjectKind::Namespace), "/api/v1/namespaces");
        assert_eq!(all(ObjectKind::GatewayClass), "/apis/gateway.networking.k8s.io/v1/gatewayclasses");
        assert_eq!(all(ObjectKind::Gateway), "/apis/gateway.networking.k8s.io/v1/gateways");
        assert_eq!(
            all(ObjectKind::BackendTlsPolicy),
            "/apis/gateway.networking.k8s.io/v1/backendtlspolicies"
        );
        assert_eq!(all(ObjectKind::Ingress), "/apis/networking.k8s.io/v1/ingresses");
        assert_eq!(all(ObjectKind::EndpointSlice), "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(all(ObjectKind::RoutePolicy), "/apis/rauta.io/v1/routepolicies");
        let secret = Scope::One(ObjectRef::new(ObjectKind::Secret, "shop", "tls"));
        assert_eq!(secret.path(), "/api/v1/namespaces/shop/secrets");
        assert_eq!(secret.selector().as_deref(), Some("metadata.name=tls"));
        assert_eq!(Scope::Nodes.path(), "/api/v1/nodes");
        assert_eq!(Scope::Pods("net".into()).path(), "/api/v1/namespaces/net/pods");
        let own = Scope::OwnNode("a".into());
        assert_eq!((own.path(), own.selector()), (Scope::Nodes.path(), Some("metadata.name=a".to_owned())));
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        assert_eq!(Scope::Definition.path(), definitions);
        assert_eq!(Scope::Definition.selector(), Some(format!("metadata.name={DEFINITION}")));
    }

    #[test]
    fn secrets_and_config_maps_are_never_read_as_a_whole() {
        let standing: Vec<_> = Scope::standing().collect();
        assert!(!standing.contains(&Scope::All(ObjectKind::Secret)), "{standing:?}");
        assert!(!standing.contains(&Scope::All(ObjectKind::ConfigMap)));
        assert_eq!(standing.len(), Object::kinds().count() - 2);
    }
}
