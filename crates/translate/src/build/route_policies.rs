use std::collections::BTreeSet;

use model::{
    AttachedPolicies, BasicAuth, Diagnostic, ListenerId, ObjectKind, ObjectRef, Policies, Reason, SecretBytes,
};
use policy::Htpasswd;
use resources::PolicyBackendRef;

use super::GATEWAY_GROUP;
use super::attached::{Attached, Fields, TargetKind, by_age, fill};
use super::certificates::entry;
use super::{ext_auth, jwt_keys};
use crate::nginx::{self, Users};
use crate::objects::Objects;
use crate::own;
use crate::own::jwt::{self, KeyPlace};
use crate::own::route_policy::{self, Rules, Said};
use crate::pattern;
use crate::report::Report;

/// The entry of a Secret that holds users.
const HTPASSWD: &str = ".htpasswd";

/// What RoutePolicies may be for.
const TARGETS: [TargetKind; 5] = [
    TargetKind { group: GATEWAY_GROUP, kind: ObjectKind::Gateway, section: Some("listener") },
    TargetKind { group: GATEWAY_GROUP, kind: ObjectKind::HttpRoute, section: Some("rule") },
    TargetKind { group: GATEWAY_GROUP, kind: ObjectKind::GrpcRoute, section: Some("rule") },
    TargetKind { group: "networking.k8s.io", kind: ObjectKind::Ingress, section: None },
    TargetKind { group: "rauta.io", kind: ObjectKind::RoutingRule, section: None },
];

/// What RoutePolicies say of routes: it follows from them and from what they are for alone.
#[derive(Debug, Default)]
pub(crate) struct RoutePolicies {
    attached: Attached<Rules>,
    /// The Secrets, ConfigMaps and Services that policies name, whether they are there or not.
    named: BTreeSet<ObjectRef>,
    /// Whether one names an object of another namespace.
    needs_grants: bool,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl RoutePolicies {
    /// The policies of the objects in force.
    pub(crate) fn build(objects: &Objects) -> Self {
        let mut policies = Self::default();
        for (key, policy) in by_age(&objects.route_policies, |policy| &policy.metadata) {
            let mut rules = route_policy::read(&policy.spec, &mut Report::muted(key));
            let mut report = Report::new(key, &mut policies.diagnostics);
            rules.basic_auth = policy.spec.basic_auth.as_ref().map(|said| {
                let secret = ObjectRef::new(ObjectKind::Secret, &key.namespace, &said.users.name);
                let read = basic_auth(said, &secret, objects, &mut report);
                policies.named.insert(secret);
                read.into()
            });
            rules.jwt = policy.spec.jwt.as_ref().map(|said| {
                let keys = |place: KeyPlace<'_>, field: &str, muted: &mut Report<'_>| match place {
                    KeyPlace::Inline(text) => {
                        jwt::key_set(text.as_bytes(), ("", Reason::InvalidField), field, muted)
                    }
                    KeyPlace::Object(reference) => {
                        jwt_keys::read(reference, key, objects, &mut policies.named, field, &mut report)
                    }
                };
                jwt::read(said, keys, &mut Report::muted(key)).into()
            });
            rules.ext_auth = policy.spec.ext_auth.as_ref().map(|said| {
                let backend = |named: &PolicyBackendRef, field: &str, _: &mut Report<'_>| {
                    policies.needs_grants |= named.namespace.is_some();
                    ext_auth::backend(named, key, objects, &mut policies.named, field, &mut report)
                };
                own::ext_auth::read(said, backend, &mut Report::muted(key)).into()
            });
            policies.attached.attach(key, (&policy.spec.target_refs, &rules), &TARGETS, objects, &mut report);
        }
        policies
    }

    /// Whether a change of this object is a change of policies: of one, or of what one is for or names.
    pub(crate) fn follows_from(&self, object: &ObjectRef) -> bool {
        object.kind == ObjectKind::RoutePolicy
            || self.attached.is_for(object)
            || self.named.contains(object)
            || self.needs_grants && object.kind == ObjectKind::ReferenceGrant
    }

    /// The Secrets, ConfigMaps and Services that policies name, whether they are there or not.
    pub(crate) fn named(&self) -> &BTreeSet<ObjectRef> {
        &self.named
    }

    /// The targets of which `other` says something else: Gateways and objects of routes.
    pub(crate) fn difference(&self, other: &Self) -> BTreeSet<ObjectRef> {
        self.attached.difference(&other.attached)
    }

    /// What holds for a rule of `object`, by the listeners that it is served on. `own`: what the object says itself, which counts
    /// behind policies for it and before those for its Gateway.
    pub(super) fn of(
        &self,
        object: &ObjectRef,
        rule: Option<&str>,
        listeners: &[ListenerId],
        own: Option<&Rules>,
    ) -> Vec<AttachedPolicies> {
        let mut found: Vec<AttachedPolicies> = Vec::new();
        if self.attached.is_empty() && own.is_none() {
            return found;
        }
        for listener in listeners {
            let gateway = ObjectRef::new(ObjectKind::Gateway, &listener.namespace, &listener.gateway);
            let of_rule = rule.map(|rule| (object, Some(rule)));
            let closest = self.attached.merged(of_rule.into_iter().chain([(object, None)]));
            let of_gateway = self.attached.merged([(&gateway, Some(&*listener.section)), (&gateway, None)]);
            let own = own.map(|own| (own.clone(), vec![object.clone()]));
            let levels: Vec<_> = [closest, own, of_gateway].into_iter().flatten().collect();
            if levels.is_empty() {
                continue;
            }
            let (mut rules, mut by) = (Rules::default(), BTreeSet::new());
            for (level, said_by) in levels {
                rules.fill(&level);
                by.extend(said_by);
            }
            let by = by.into_iter().collect();
            let policies = Policies { by, ..rules.into_policies() };
            match found.iter_mut().find(|one| one.policies == policies) {
                Some(same) => same.listeners.push(listener.clone()),
                None => found.push(AttachedPolicies { listeners: vec![listener.clone()], policies }),
            }
        }
        found
    }
}

/// Users with their passwords' hashes; none: they cannot be had.
fn basic_auth(
    said: &resources::BasicAuth,
    secret: &ObjectRef,
    objects: &Objects,
    report: &mut Report<'_>,
) -> Option<BasicAuth> {
    let realm = route_policy::realm(said, &mut report.muted_again());
    let header = route_policy::username_header(said, &mut report.muted_again());
    let text = match objects.secrets.get(secret) {
        None => Err(format!("there is no {secret}")),
        Some(found) => entry(found, HTPASSWD).ok_or_else(|| format!("{secret} has no entry {HTPASSWD}")),
    };
    let checked = text.and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{HTPASSWD} of {secret} is no UTF-8"))?;
        Htpasswd::parse(text).map_err(|error| format!("{HTPASSWD} of {secret}: {error}"))?;
        Ok(SecretBytes::new(&bytes))
    });
    match checked {
        Ok(users) => {
            Some(BasicAuth { realm: realm?.into(), username_header: header?.map(Into::into), users })
        }
        Err(message) => {
            let message = format!("{message}, {}", route_policy::CLOSES);
            report.error(Reason::InvalidSecretRef, "spec.basicAuth.users", message);
            None
        }
    }
}

/// Users of an annotation of ingress-nginx, and the Secret that they are looked for in, if it may be; broken: they cannot be had, which
/// is reported.
pub(super) fn annotated_users(
    said: &Users,
    key: &ObjectRef,
    objects: &Objects,
    report: &mut Report<'_>,
) -> (Option<ObjectRef>, Said<BasicAuth>) {
    let (namespace, name) = said.secret.split_once('/').unwrap_or((&key.namespace, &said.secret));
    let mut broken = |message: String| {
        let message = format!("{message}, {}", nginx::CLOSES);
        report.error(Reason::InvalidSecretRef, nginx::field("auth-secret"), message);
        Said::Broken
    };
    if namespace != &*key.namespace {
        let message = format!("{:?} is in another namespace: copy it into {}", said.secret, key.namespace);
        return (None, broken(message));
    }
    if !pattern::is_object_name(name) {
        return (None, broken(format!("{name:?} is no name of a Secret")));
    }
    let secret = ObjectRef::new(ObjectKind::Secret, namespace, name);
    let text = match objects.secrets.get(&secret) {
        None => Err(format!("there is no {secret}")),
        Some(found) if said.is_map => {
            let entries = found.data.iter().flatten().map(|(user, hash)| (user, hash.0.as_slice()));
            let texts = found.string_data.iter().flatten().map(|(user, hash)| (user, hash.as_bytes()));
            let line =
                |(user, hash): (&String, &[u8])| [user.as_bytes(), b":", hash.trim_ascii(), b"\n"].concat();
            Ok(entries.chain(texts).flat_map(line).collect())
        }
        Some(found) => entry(found, "auth").ok_or_else(|| format!("{secret} has no entry auth")),
    };
    let checked = text.and_then(|bytes: Vec<u8>| {
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("users of {secret} are no UTF-8"))?;
        Htpasswd::parse(text).map_err(|error| format!("users of {secret}: {error}"))?;
        Ok(SecretBytes::new(&bytes))
    });
    let users = match checked {
        Ok(users) => Said::Is(BasicAuth { realm: said.realm.clone(), username_header: None, users }),
        Err(message) => broken(message),
    };
    (Some(secret), users)
}

impl Fields for Rules {
    fn fill(&mut self, other: &Self) -> Vec<&'static str> {
        let mut taken = Vec::new();
        // What cannot be read may be what protects: no other policy takes its place.
        self.is_unreadable |= other.is_unreadable;
        fill("ipRules", &mut self.ip_rules, &other.ip_rules, &mut taken);
        fill("rateLimit", &mut self.rate_limit, &other.rate_limit, &mut taken);
        fill("concurrencyLimit", &mut self.concurrency_limit, &other.concurrency_limit, &mut taken);
        fill("basicAuth", &mut self.basic_auth, &other.basic_auth, &mut taken);
        fill("jwt", &mut self.jwt, &other.jwt, &mut taken);
        fill("extAuth", &mut self.ext_auth, &other.ext_auth, &mut taken);
        fill("faultInjection", &mut self.fault_injection, &other.fault_injection, &mut taken);
        fill("directResponse", &mut self.direct_response, &other.direct_response, &mut taken);
        fill("errorResponses", &mut self.error_responses, &other.error_responses, &mut taken);
        fill("compression", &mut self.compression, &other.compression, &mut taken);
        fill("requestBodyMax", &mut self.request_body_max, &other.request_body_max, &mut taken);
        taken
    }
}

impl Rules {
    /// What comes of them: closed, if one of those that decide whether a request goes on is broken.
    fn into_policies(self) -> Policies {
        let open = || {
            Some(Policies {
                by: Vec::new(),
                is_closed: false,
                ip_rules: whole(self.ip_rules)?,
                rate_limit: whole(self.rate_limit)?,
                concurrency_limit: whole(self.concurrency_limit)?,
                basic_auth: whole(self.basic_auth)?,
                jwt: whole(self.jwt)?,
                ext_auth: whole(self.ext_auth)?,
                fault_injection: whole(self.fault_injection).flatten(),
                direct_response: whole(self.direct_response)?,
                error_responses: whole(self.error_responses).flatten().unwrap_or_default(),
                compression: whole(self.compression).flatten().unwrap_or_default(),
                request_body_max: whole(self.request_body_max)?,
            })
        };
        let closed = || Policies { is_closed: true, ..Policies::default() };
        if self.is_unreadable { closed() } else { open().unwrap_or_else(closed) }
    }
}

/// A field that protects; none: it is broken.
fn whole<T>(said: Option<Said<T>>) -> Option<Option<T>> {
    match said {
        None => Some(None),
        Some(Said::Is(value)) => Some(Some(value)),
        Some(Said::Broken) => None,
    }
}
