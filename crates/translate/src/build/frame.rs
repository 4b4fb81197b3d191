use std::collections::{BTreeMap, BTreeSet};

use model::{Certificate, CertificateId, Diagnostic, Listener, ListenerId, ObjectKind, ObjectRef};

use super::clients::Secured;
use super::namespaces::From;
use crate::Options;
use crate::class::Classes;
use crate::objects::Objects;
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
    /// Where routes without parents go.
    pub(super) default_listeners: Vec<ListenerId>,
    pub(crate) certificates: BTreeMap<CertificateId, Certificate>,
    /// The ConfigMaps and Secrets that Gateways name for authorities and certificates, and may, whether they are there or not.
    pub(crate) bundles: BTreeSet<ObjectRef>,
    pub(crate) diagnostics: Vec<Diagnostic>,
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
    pub(crate) fn build(objects: &Objects, options: &Options) -> Self {
        let classes = Classes::new(objects, options);
        let mut framing =
            Framing { objects, options, classes, secured: BTreeMap::new(), frame: Self::default() };
        framing.gateways();
        framing.listener_sets();
        framing.open_default_listener();
        framing.frame
    }

    /// Where routes without parents go.
    pub(crate) fn default_listeners(&self) -> &[ListenerId] {
        &self.default_listeners
    }

    /// The listeners that are served; the default one only if a route wants it.
    pub(crate) fn listeners(&self, default_is_used: bool) -> impl Iterator<Item = &Listener> {
        let default = ListenerId::default_http();
        let records = self.listeners.iter().map(|site| &site.record);
        records.filter(move |listener| default_is_used || listener.id != default)
    }
}

impl Framing<'_> {
    pub(super) fn report<'r>(&'r mut self, object: &'r ObjectRef) -> Report<'r> {
        Report::new(object, &mut self.frame.diagnostics)
    }
}
