//! Objects in force -> records: what needs more than one object.

mod attach;
mod backends;
mod certificates;
mod endpoints;
mod http_routes;
mod ingresses;
mod listeners;
mod routing_rules;

use std::collections::{BTreeMap, BTreeSet};

use kube::core::ObjectMeta;
use model::{
    Backend, BackendId, Certificate, CertificateId, Diagnostic, Listener, ListenerId, ObjectRef, Route,
};

use crate::Options;
use crate::class::Classes;
use crate::objects::Objects;
use crate::report::Report;

/// The parts of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) routes: Vec<Route>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Builds the records of all objects in force.
pub(crate) fn build(objects: &Objects, options: &Options) -> Records {
    let mut builder = Builder {
        objects,
        options,
        classes: Classes::new(objects, options),
        endpoints: endpoints::by_service(objects),
        listeners: Vec::new(),
        refused: BTreeSet::new(),
        default_listeners: Vec::new(),
        routes: Vec::new(),
        backends: BTreeMap::new(),
        certificates: BTreeMap::new(),
        diagnostics: Vec::new(),
    };
    builder.gateways();
    builder.open_default_listener();
    builder.http_routes();
    builder.ingresses();
    builder.routing_rules();
    builder.into_records()
}

/// A listener and who may attach to it.
#[derive(Debug)]
struct Site {
    record: Listener,
    /// Namespaces whose routes may attach.
    from: From,
    /// Whether HTTPRoutes may attach.
    takes_http_routes: bool,
}

/// `allowedRoutes.namespaces`, evaluated.
#[derive(Debug, PartialEq, Eq)]
enum From {
    All,
    Only(Vec<String>),
}

struct Builder<'a> {
    objects: &'a Objects,
    options: &'a Options,
    classes: Classes<'a>,
    endpoints: endpoints::ByService<'a>,
    listeners: Vec<Site>,
    /// Listeners of ours that cannot be served; their own diagnostics say why.
    refused: BTreeSet<ListenerId>,
    /// Where routes without parents go.
    default_listeners: Vec<ListenerId>,
    routes: Vec<Route>,
    backends: BTreeMap<BackendId, Backend>,
    certificates: BTreeMap<CertificateId, Certificate>,
    diagnostics: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn report<'r>(&'r mut self, object: &'r ObjectRef) -> Report<'r> {
        Report::new(object, &mut self.diagnostics)
    }

    fn into_records(self) -> Records {
        let default = ListenerId::default_http();
        let default_is_used = self.routes.iter().any(|route| route.listeners.contains(&default));
        Records {
            listeners: self
                .listeners
                .into_iter()
                .map(|site| site.record)
                .filter(|listener| listener.id != default || default_is_used)
                .collect(),
            routes: self.routes,
            backends: self.backends.into_values().collect(),
            certificates: self.certificates.into_values().collect(),
            diagnostics: self.diagnostics,
        }
    }
}

/// When an object was made, in seconds since 1970.
fn created_unix_s(meta: &ObjectMeta) -> Option<i64> {
    meta.creation_timestamp.as_ref().map(|time| time.0.as_second())
}
