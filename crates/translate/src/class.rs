use model::{ObjectKind, ObjectRef, Reason};
use resources::core::Ingress;

use crate::Options;
use crate::objects::Objects;
use crate::report::Report;

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// Which classes are ours.
#[derive(Debug)]
pub(crate) struct Classes<'a> {
    objects: &'a Objects,
    options: &'a Options,
}

/// What a class name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class<'a> {
    Ours,
    /// Another controller's.
    Foreign(&'a str),
    Missing,
}

impl<'a> Classes<'a> {
    pub(crate) fn new(objects: &'a Objects, options: &'a Options) -> Self {
        Self { objects, options }
    }

    /// Whether GatewayClass `name` is ours; if not, says so where that helps.
    pub(crate) fn owns_gateway(&self, name: &str, report: &mut Report<'_>) -> bool {
        let key = ObjectRef::new(ObjectKind::GatewayClass, "", name);
        let class = match self.objects.gateway_classes.get(&key) {
            Some(class) if class.spec.controller_name == self.options.controller_name => Class::Ours,
            Some(class) => Class::Foreign(&class.spec.controller_name),
            None => self.by_name(name),
        };
        self.judge(
            class,
            name,
            "GatewayClass",
            "spec.gatewayClassName",
            &self.options.controller_name,
            report,
        )
    }

    /// Whether an Ingress is ours: by `spec.ingressClassName`, the annotation `kubernetes.io/ingress.class`, or as its
    /// IngressClass is the default.
    pub(crate) fn owns_ingress(&self, ingress: &Ingress, report: &mut Report<'_>) -> bool {
        let spec = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(LEGACY_CLASS));
        let (name, field) = match (spec, annotation) {
            (Some(name), _) => (name, "spec.ingressClassName"),
            (None, Some(name)) => (name.as_str(), "metadata.annotations[kubernetes.io/ingress.class]"),
            (None, None) => return self.default_is_ours(report),
        };
        let key = ObjectRef::new(ObjectKind::IngressClass, "", name);
        let class = match self.objects.ingress_classes.get(&key) {
            Some(class) => {
                let controller =
                    class.spec.as_ref().and_then(|spec| spec.controller.as_deref()).unwrap_or("");
                if controller == self.options.ingress_controller_name {
                    Class::Ours
                } else {
                    Class::Foreign(controller)
                }
            }
            None => self.by_name(name),
        };
        self.judge(class, name, "IngressClass", field, &self.options.ingress_controller_name, report)
    }

    fn by_name(&self, name: &str) -> Class<'a> {
        let is_ours = self.options.standalone && name == self.options.class_name;
        if is_ours { Class::Ours } else { Class::Missing }
    }

    fn judge(
        &self,
        class: Class<'_>,
        name: &str,
        kind: &str,
        field: &str,
        ours: &str,
        report: &mut Report<'_>,
    ) -> bool {
        let class_name = &self.options.class_name;
        match class {
            Class::Ours => return true,
            // In a cluster that is the normal state of others' objects, and none of our business.
            Class::Foreign(_) if !self.options.standalone => {}
            Class::Foreign(controller) => report.warning(
                Reason::UnknownClass,
                field,
                format!("{kind} {name:?} belongs to controller {controller:?}, so nothing of it is served here"),
            ),
            Class::Missing if !self.options.standalone => report.warning(
                Reason::UnknownClass,
                field,
                format!("there is no {kind} {name:?}, so nothing of it is served"),
            ),
            Class::Missing => report.error(
                Reason::UnknownClass,
                field,
                format!(
                    "there is no {kind} {name:?}, so nothing of it is served: write {class_name:?}, or add the \
                     {kind} with controller {ours}"
                ),
            ),
        }
        false
    }

    /// An Ingress without a class belongs to the default class, if there is exactly one (KEP-1453).
    fn default_is_ours(&self, report: &mut Report<'_>) -> bool {
        let is_default = |annotations: &std::collections::BTreeMap<String, String>| {
            annotations.get(DEFAULT_CLASS).is_some_and(|value| value == "true")
        };
        let mut defaults = self
            .objects
            .ingress_classes
            .values()
            .filter(|class| class.metadata.annotations.as_ref().is_some_and(is_default));
        let controller = |class: &resources::core::IngressClass| {
            class.spec.as_ref().and_then(|spec| spec.controller.clone()).unwrap_or_default()
        };
        match (defaults.next(), defaults.next()) {
            (Some(only), None) if controller(only) == self.options.ingress_controller_name => return true,
            (Some(_), None) => {}
            (Some(_), Some(_)) => report.error(
                Reason::UnknownClass,
                "spec.ingressClassName",
                "is missing, and two IngressClasses are marked as default: name the class",
            ),
            (None, _) if self.options.standalone => report.error(
                Reason::UnknownClass,
                "spec.ingressClassName",
                format!(
                    "is missing and no IngressClass is marked as default, so nothing of it is served: write {:?}",
                    self.options.class_name
                ),
            ),
            (None, _) => {}
        }
        false
    }
}
