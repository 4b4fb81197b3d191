use std::collections::BTreeSet;
use std::sync::Arc;

use model::{BackendPolicy, Diagnostic, ObjectKind, ObjectRef, Reason};

use super::attached::{Attached, Fields, TargetKind, by_age, fill};
use crate::Options;
use crate::objects::Objects;
use crate::own::backend_policy::{self, Rules};
use crate::report::Report;

/// What BackendPolicies may be for.
const TARGETS: [TargetKind; 1] = [TargetKind { group: "", kind: ObjectKind::Service, section: Some("port") }];

/// What BackendPolicies say of Services: it follows from them and from what they are for alone.
#[derive(Debug, Default)]
pub(crate) struct BackendPolicies {
    attached: Attached<Rules>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl BackendPolicies {
    /// The policies of the objects in force.
    pub(crate) fn build(objects: &Objects, options: &Options) -> Self {
        let mut policies = Self::default();
        for (key, policy) in by_age(&objects.backend_policies, |policy| &policy.metadata) {
            let rules = backend_policy::read(&policy.spec, options, &mut Report::muted(key));
            let mut report = Report::new(key, &mut policies.diagnostics);
            if rules
                .balancing
                .as_ref()
                .is_some_and(|said| said.slow_start.is_some() && said.hash_by.is_some())
            {
                let message = "has no effect with type ConsistentHash: a value keeps its endpoint";
                report.warning(Reason::Unsupported, "spec.loadBalancer.slowStart", message);
            }
            policies.attached.attach(key, (&policy.spec.target_refs, &rules), &TARGETS, objects, &mut report);
        }
        policies
    }

    /// Whether a change of this object is a change of policies: of one, or of what one is for.
    pub(crate) fn follows_from(&self, object: &ObjectRef) -> bool {
        object.kind == ObjectKind::BackendPolicy || self.attached.is_for(object)
    }

    /// The Services of which `other` says something else.
    pub(crate) fn difference(&self, other: &Self) -> BTreeSet<ObjectRef> {
        self.attached.difference(&other.attached)
    }

    /// What holds for a port of a Service; none: nothing is said of it. One for the port counts before one for all.
    pub(super) fn of(&self, service: &ObjectRef, port_name: Option<&str>) -> Option<Arc<BackendPolicy>> {
        let of_port = port_name.map(|name| (service, Some(name)));
        let (rules, _) = self.attached.merged(of_port.into_iter().chain([(service, None)]))?;
        let chosen = rules.balancing;
        Some(Arc::new(BackendPolicy {
            balancing: chosen.as_ref().map(|chosen| chosen.balancing),
            slow_start: chosen.as_ref().and_then(|chosen| chosen.slow_start),
            hash_by: chosen.and_then(|chosen| chosen.hash_by),
            health_check: rules.health_check,
            panic_percent: rules.panic_percent.unwrap_or(BackendPolicy::PANIC_PERCENT_DEFAULT),
            outliers: rules.outliers,
            limits: rules.limits,
        }))
    }
}

impl Fields for Rules {
    fn fill(&mut self, other: &Self) -> Vec<&'static str> {
        let mut taken = Vec::new();
        fill("loadBalancer", &mut self.balancing, &other.balancing, &mut taken);
        fill("healthCheck", &mut self.health_check, &other.health_check, &mut taken);
        fill("panicThreshold", &mut self.panic_percent, &other.panic_percent, &mut taken);
        fill("outlierDetection", &mut self.outliers, &other.outliers, &mut taken);
        fill("circuitBreaker", &mut self.limits, &other.limits, &mut taken);
        taken
    }
}
