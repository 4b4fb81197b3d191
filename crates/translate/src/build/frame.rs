use std::collections::{BTreeMap, BTreeSet};

use model::{
    Certificate, CertificateId, Diagnostic, HostPattern, Listener, ListenerId, ObjectKind, ObjectRef,
    Protocol, WildcardLabels,
};

use super::clients::Secured;
use super::namespaces::From;
use crate::Options;
use crate::class::Classes;
use crate::objects::Objects;
use crate::pattern::after_label;
use crate::report::Report;

/// What routes attach to: it follows from classes, Gateways, ListenerSets, Secrets, ReferenceGrants, Namespaces
/// and the ConfigMaps that they name alone.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(super) listeners: Vec<Site>,
    /// Listeners of ours that are not open; their own diagnostics say why. Routes attach to them all the same, where their protocol is known.
    pub(super) refused: BTreeMap<ListenerId, Option<Site>>,
    /// The ListenerSets that attach to Gateways of ours, with their listeners.
    pub(super) sets: BTreeMap<ObjectRef, Vec<Named>>,
    /// Where routes without parents go: by HTTP, and by HTTPS where some Ingress wants that.
    pub(super) default_listeners: Vec<ListenerId>,
    /// Those of them that are Gateways'.
    pub(super) takers: BTreeMap<ListenerId, Taker>,
    /// Whether nothing can listen where they would be served by HTTP.
    pub(super) is_http_blocked: bool,
    pub(crate) wants_https: bool,
    /// Where they are served by HTTPS.
    pub(super) https: HttpsAt,
    /// Names that listeners of Gateways have there to themselves.
    pub(super) claimed: BTreeMap<HostPattern, ListenerId>,
    /// What clients are shown that ask for names of nobody.
    pub(super) default_certificate: Option<CertificateId>,
    pub(crate) certificates: BTreeMap<CertificateId, Certificate>,
    /// The ConfigMaps and Secrets that Gateways name for authorities and certificates, and may, whether they are there or not.
    pub(crate) bundles: BTreeSet<ObjectRef>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A Gateway's listener that stands where the default one would.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) protocol: Protocol,
    /// Namespaces whose objects it takes.
    pub(super) from: From,
}

/// Where routes without parents are served by HTTPS.
#[derive(Debug, Default)]
pub(super) enum HttpsAt {
    /// Nobody wants that.
    #[default]
    Nowhere,
    /// At the default listener.
    Own,
    /// At listeners of Gateways alone, each with its certificates.
    Gateways(Vec<(ListenerId, Vec<CertificateId>)>),
    /// Nowhere, as this listener has the port.
    Blocked(ListenerId),
}

/// A listener and who may attach to it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) record: Listener,
    /// Namespaces whose routes may attach.
    pub(super) from: From,
    /// Kinds of the Gateway API that may attach.
    pub(super) kinds: Vec<ObjectKind>,
    /// Whether it is a ListenerSet's.
    pub(super) is_of_set: bool,
}

/// A listener as routes name it, served or not.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) port: i32,
    pub(super) id: ListenerId,
}

/// A frame while it is built.
pub(super) struct Framing<'a> {
    pub(super) objects: &'a Objects,
    pub(super) options: &'a Options,
    pub(super) classes: Classes<'a>,
    /// By Gateway.
    pub(super) secured: BTreeMap<ObjectRef, Secured>,
    pub(super) frame: Frame,
}

impl Frame {
    /// The frame of the objects in force.
    /// `wants_https`: whether some Ingress does.
    pub(crate) fn build(objects: &Objects, options: &Options, wants_https: bool) -> Self {
        let classes = Classes::new(objects, options);
        let mut framing =
            Framing { objects, options, classes, secured: BTreeMap::new(), frame: Self::default() };
        framing.gateways();
        framing.listener_sets();
        framing.open_default_listener();
        framing.frame.wants_https = wants_https;
        if wants_https {
            framing.open_default_https();
        }
        framing.frame
    }

    /// Whether objects of this namespace may be served at one of the default listeners.
    pub(super) fn lets_in(&self, listener: &ListenerId, namespace: &str, objects: &Objects) -> bool {
        self.takers.get(listener).is_none_or(|taker| taker.from.takes(namespace, objects))
    }

    /// The listener of a Gateway that has a name (all names of a wildcard) to itself where routes without parents are served by HTTPS.
    pub(super) fn claim_of(&self, name: &HostPattern) -> Option<&ListenerId> {
        let (exact, suffix) = match name {
            HostPattern::Exact(text) => (self.claimed.get(name), after_label(text)),
            HostPattern::Wildcard { suffix, .. } => (None, Some(&**suffix)),
        };
        let mut suffixes =
            std::iter::successors(suffix, |suffix| suffix.strip_prefix('.').and_then(after_label));
        exact.or_else(|| {
            suffixes.find_map(|suffix| {
                let labels = WildcardLabels::OneOrMore;
                self.claimed.get(&HostPattern::Wildcard { suffix: suffix.into(), labels })
            })
        })
    }

    /// Where routes without parents go.
    pub(crate) fn default_listeners(&self) -> &[ListenerId] {
        &self.default_listeners
    }

    /// The listeners that are served; default ones only if a route wants them.
    pub(crate) fn listeners(&self, is_used: impl Fn(&ListenerId) -> bool) -> impl Iterator<Item = &Listener> {
        let records = self.listeners.iter().map(|site| &site.record);
        records.filter(move |listener| !listener.id.is_default() || is_used(&listener.id))
    }
}

impl Framing<'_> {
    pub(super) fn report<'r>(&'r mut self, object: &'r ObjectRef) -> Report<'r> {
        Report::new(object, &mut self.frame.diagnostics)
    }
}
