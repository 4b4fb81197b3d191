use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Authorities, BackendSecurity, BackendTls, Diagnostic, ObjectKind, ObjectRef, PeerName, PemBundle, Reason,
};
use resources::gateway::{
    BackendTlsPolicy, BackendTlsPolicyValidation, BackendTlsPolicyValidationSubjectAltNamesType,
};

use super::attached::by_age;
use super::authorities::{Reference, bundle};
use crate::objects::Objects;
use crate::pattern;
use crate::report::Report;

/// What BackendTLSPolicies say about Services: it follows from them and from the bundles that they name alone.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// By Service, and by the name of a port that a policy is for.
    targets: BTreeMap<(ObjectRef, Option<String>), BackendSecurity>,
    /// The ConfigMaps and Secrets that policies name, whether they are there or not.
    pub(crate) bundles: BTreeSet<ObjectRef>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Policies {
    /// The policies of the objects in force. Of two for the same target the older one counts (BackendTLSPolicySpec.targetRefs).
    pub(crate) fn build(objects: &Objects) -> Self {
        let mut policies = Self::default();
        for (key, policy) in by_age(&objects.backend_tls_policies, |policy| &policy.metadata) {
            policies.add(key, policy, objects);
        }
        policies
    }

    /// How a port of a Service is secured; none: no policy says so. One for the port counts before one for all.
    pub(super) fn of(&self, service: &ObjectRef, port_name: Option<&str>) -> Option<&BackendSecurity> {
        let of_port = port_name.and_then(|name| self.targets.get(&(service.clone(), Some(name.to_owned()))));
        of_port.or_else(|| self.targets.get(&(service.clone(), None)))
    }

    /// The Services for which `other` says something else.
    pub(crate) fn difference(&self, other: &Self) -> BTreeSet<ObjectRef> {
        let of = |a: &Self, b: &Self| -> Vec<ObjectRef> {
            let differ =
                a.targets.iter().filter(|(target, security)| b.targets.get(target) != Some(security));
            differ.map(|((service, _), _)| service.clone()).collect()
        };
        of(self, other).into_iter().chain(of(other, self)).collect()
    }

    fn add(&mut self, key: &ObjectRef, policy: &BackendTlsPolicy, objects: &Objects) {
        let mut found = Vec::new();
        let mut report = Report::new(key, &mut found);
        for name in policy.spec.options.iter().flatten().map(|(name, _)| name) {
            let field = format!("spec.options[{name:?}]");
            report.warning(Reason::Unsupported, field, "has no effect in this version");
        }
        let security = match self.security(key, &policy.spec.validation, objects, &mut report) {
            Some(tls) => BackendSecurity::Tls(Arc::new(tls)),
            // What should be secured is not sent in cleartext because a name is misspelt.
            None => BackendSecurity::Broken,
        };
        for (i, target) in policy.spec.target_refs.iter().enumerate() {
            let field = format!("spec.targetRefs[{i}]");
            if (target.group.as_str(), target.kind.as_str()) != ("", "Service") {
                let message = format!("{} is no target of it: name a Service, group \"\"", target.kind);
                report.error(Reason::InvalidKind, format!("{field}.kind"), message);
                continue;
            }
            let service = ObjectRef::new(ObjectKind::Service, &key.namespace, &target.name);
            let section = target.section_name.clone().filter(|name| !name.is_empty());
            match objects.services.get(&service) {
                None => {
                    report.warning(Reason::BackendNotFound, field.clone(), format!("there is no {service}"));
                }
                Some(found) => {
                    let mut ports = found.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
                    if section.is_some() && !ports.any(|port| port.name == section) {
                        let message = format!("{service} has no port of that name");
                        report.warning(Reason::BackendNotFound, format!("{field}.sectionName"), message);
                    }
                }
            }
            if self.targets.contains_key(&(service.clone(), section.clone())) {
                let message =
                    format!("another BackendTLSPolicy is for {service} already, and counts instead");
                report.error(Reason::Conflicted, field, message);
                continue;
            }
            self.targets.insert((service, section), security.clone());
        }
        self.diagnostics.append(&mut found);
    }

    fn security(
        &mut self,
        key: &ObjectRef,
        validation: &BackendTlsPolicyValidation,
        objects: &Objects,
        report: &mut Report<'_>,
    ) -> Option<BackendTls> {
        let authorities = self.authorities(key, validation, objects, report);
        let field = "spec.validation";
        let server_name = dns_name(&validation.hostname, false, &format!("{field}.hostname"), report);
        let mut names = Vec::new();
        for (i, name) in validation.subject_alt_names.iter().flatten().enumerate() {
            let field = format!("{field}.subjectAltNames[{i}]");
            match name.r#type {
                BackendTlsPolicyValidationSubjectAltNamesType::Hostname => {
                    let name = name.hostname.as_deref().unwrap_or_default();
                    names.push(dns_name(name, true, &format!("{field}.hostname"), report).map(PeerName::Dns));
                }
                BackendTlsPolicyValidationSubjectAltNamesType::Uri => {
                    let uri = name.uri.as_deref().filter(|uri| is_absolute(uri));
                    if uri.is_none() {
                        let message = "is no URI with a scheme, such as spiffe://example.com/ns/shop/sa/cart; requests to its \
                                       Services get 500";
                        report.invalid(format!("{field}.uri"), message);
                    }
                    names.push(uri.map(|uri| PeerName::Uri(uri.into())));
                }
            }
        }
        // All of them must be names: one less, and endpoints would be taken or refused against what was meant.
        let mut names: Vec<_> = names.into_iter().collect::<Option<_>>()?;
        let (authorities, server_name) = (authorities?, server_name?);
        if names.is_empty() {
            names.push(PeerName::Dns(server_name.clone()));
        }
        Some(BackendTls { server_name, tells_name: true, names, authorities, certificate: None })
    }

    fn authorities(
        &mut self,
        key: &ObjectRef,
        validation: &BackendTlsPolicyValidation,
        objects: &Objects,
        report: &mut Report<'_>,
    ) -> Option<Authorities> {
        let field = "spec.validation.caCertificateRefs";
        let references = validation.ca_certificate_refs.as_deref().unwrap_or_default();
        let well_known = validation.well_known_ca_certificates.as_deref().unwrap_or_default();
        match (references, well_known) {
            ([], "System") => return Some(Authorities::System),
            ([], "") => {
                let message = "is missing, as is wellKnownCACertificates: requests to its Services get 500";
                report.invalid(field, message);
                return None;
            }
            ([], other) => {
                let message =
                    format!("{other:?} is not known here, so requests to its Services get 500: write System");
                report.invalid("spec.validation.wellKnownCACertificates", message);
                return None;
            }
            (_, "") => {}
            _ => {
                let message = "stands beside wellKnownCACertificates, so requests to its Services get 500: write one of them";
                report.invalid(field, message);
                return None;
            }
        }
        let mut pem = Vec::new();
        for (i, reference) in references.iter().enumerate() {
            let reference = Reference {
                group: &reference.group,
                kind: &reference.kind,
                namespace: &key.namespace,
                name: &reference.name,
            };
            match bundle(&reference, key, objects, &mut self.bundles) {
                Ok(text) => {
                    pem.extend_from_slice(&text);
                    pem.push(b'\n');
                }
                Err((reason, message)) => {
                    let message = format!(
                        "{message}; its Services get no request for which none of the others vouches"
                    );
                    report.error(reason, format!("{field}[{i}]"), message);
                }
            }
        }
        if pem.is_empty() {
            let message = "holds no usable certificate, so requests to its Services get 500";
            report.error(Reason::NoValidCaCertificate, field, message);
            return None;
        }
        Some(Authorities::Bundle(PemBundle::new(&pem)))
    }
}

fn dns_name(name: &str, takes_wildcards: bool, field: &str, report: &mut Report<'_>) -> Option<Arc<str>> {
    let bare = if takes_wildcards { name.strip_prefix("*.").unwrap_or(name) } else { name };
    if pattern::is_dns_name(bare) {
        return Some(name.to_ascii_lowercase().into());
    }
    report.invalid(field, format!("{name:?} is no DNS name, so requests to its Services get 500"));
    None
}

fn is_absolute(uri: &str) -> bool {
    let is_clean = uri.bytes().all(|byte| byte.is_ascii_graphic());
    is_clean && uri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
}
