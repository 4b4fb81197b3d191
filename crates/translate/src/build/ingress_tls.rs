//! `spec.tls` of an Ingress: the names that it serves over HTTPS, and with what certificates.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Certificate, CertificateId, HostPattern, NamedCertificate, ObjectKind, ObjectRef, Reason, WildcardLabels,
};
use resources::core::{IngressSpec, IngressTLS};

use super::Builder;
use super::certificates::read_certificate;
use super::frame::HttpsAt;
use crate::nginx::{self, Nginx};
use crate::pattern;
use crate::report::Report;

/// What an Ingress brings for HTTPS.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Secured {
    /// Names of its rules.
    pub(crate) names: Vec<NamedCertificate>,
    /// Other names, which come to it only where no Ingress has a rule for them.
    pub(crate) leftover: Vec<NamedCertificate>,
    pub(crate) certificates: Vec<Certificate>,
    /// When the Ingress was made, in seconds since 1970: of two that want the same name the older one has it.
    pub(crate) created_unix_s: Option<i64>,
}

/// What requests over HTTP need to know of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Names that are asked for, whether they have a certificate or not.
    named: Vec<HostPattern>,
    /// Names that are served over HTTPS.
    served: Vec<HostPattern>,
    /// Whether an entry is for all hosts, and whether all are served.
    is_for_all: bool,
    serves_all: bool,
    /// Names that a Gateway's listener has to itself.
    elsewhere: BTreeSet<HostPattern>,
}

impl Asked {
    /// Whether HTTPS is asked for this host of a rule; none: all.
    pub(super) fn names(&self, host: Option<&HostPattern>) -> bool {
        let is_named = self.is_for_all || host.is_some_and(|host| has(&self.named, host));
        is_named && !self.is_elsewhere(host)
    }

    /// Whether this host of a rule is served over HTTPS; none: all.
    pub(super) fn serves(&self, host: Option<&HostPattern>) -> bool {
        let is_served = host.is_some_and(|host| has(&self.served, host));
        (self.serves_all && self.names(host)) || (is_served && !self.is_elsewhere(host))
    }

    /// The same without HTTPS for any host.
    fn unserved(self) -> Self {
        Self { served: Vec::new(), serves_all: false, ..self }
    }

    fn is_elsewhere(&self, host: Option<&HostPattern>) -> bool {
        host.is_some_and(|host| self.elsewhere.contains(host))
    }
}

/// Whether all names of `host` are among `names`.
fn has(names: &[HostPattern], host: &HostPattern) -> bool {
    names.iter().any(|name| {
        let is_in = |exact: &str| name.matches(exact);
        name == host || matches!(host, HostPattern::Exact(exact) if is_in(exact))
    })
}

/// The names that an Ingress serves.
struct Hosts {
    /// Those of its rules, and their other names.
    of_rules: Vec<HostPattern>,
    /// Those of them with or without `www.` that are sent to the other name.
    www: Vec<HostPattern>,
    /// Whether it takes what is for no other Ingress, too.
    takes_all: bool,
}

impl Hosts {
    fn new(spec: &IngressSpec, said: &Nginx) -> Self {
        let rules = || spec.rules.iter().flatten().map(|rule| rule.host.as_deref().unwrap_or_default());
        let mut of_rules: Vec<_> =
            rules().filter_map(|host| HostPattern::parse(host, WildcardLabels::One).ok()).collect();
        let www: Vec<_> = of_rules.iter().filter(|_| said.joins_www).filter_map(other_name).collect();
        of_rules.extend(www.iter().cloned());
        if !of_rules.is_empty() {
            of_rules.extend(said.aliases.iter().cloned());
        }
        Self { of_rules, www, takes_all: spec.default_backend.is_some() || rules().any(str::is_empty) }
    }

    /// Whether a rule is for the name, or for one of those that it stands for.
    fn have(&self, name: &HostPattern) -> bool {
        has(&self.of_rules, name) || self.of_rules.iter().any(|host| has(std::slice::from_ref(name), host))
    }

    /// Whether it may be shown the certificates of this Ingress.
    fn take(&self, name: &HostPattern) -> bool {
        self.takes_all || self.have(name)
    }
}

/// Whether it asks for HTTPS.
pub(super) fn has_tls(spec: &IngressSpec) -> bool {
    spec.tls.as_ref().is_some_and(|tls| !tls.is_empty())
}

impl Builder<'_> {
    /// Reads `spec.tls`; what is wrong with an entry takes the names of this one from HTTPS, and nothing else.
    pub(super) fn ingress_tls(
        &mut self,
        key: &ObjectRef,
        spec: &IngressSpec,
        said: &Nginx,
        created_unix_s: Option<i64>,
    ) -> Asked {
        let mut asked = Asked::default();
        let mut secured = Secured { created_unix_s, ..Secured::default() };
        let hosts = Hosts::new(spec, said);
        for (i, entry) in spec.tls.iter().flatten().enumerate() {
            self.entry((key, &hosts), entry, &format!("spec.tls[{i}]"), said, &mut asked, &mut secured);
        }
        self.leave_claimed(key, &hosts, &mut asked, &mut secured);
        (secured.names, secured.leftover) = secured.names.into_iter().partition(|one| hosts.have(&one.name));
        let is_ours = match &self.frame.https {
            HttpsAt::Own => true,
            HttpsAt::Nowhere => false,
            HttpsAt::Gateways(listeners) => {
                let lets_in = |id| self.frame.lets_in(id, &key.namespace, self.objects);
                let open: Vec<_> = listeners.iter().filter(|(id, _)| lets_in(id)).collect();
                if let (true, Some((listener, _))) = (open.is_empty(), listeners.first()) {
                    let message = format!(
                        "listener {listener} has port {} for all hosts and does not let objects of namespace {} attach, so \
                         there is no HTTPS: let them in (allowedRoutes.namespaces), or set another port for one of them",
                        self.options.default_https.port, key.namespace
                    );
                    self.report(key).error(Reason::Conflicted, "spec.tls", message);
                    return asked.unserved();
                }
                let shown: Vec<_> = open.iter().flat_map(|(_, certificates)| certificates).collect();
                let other = secured.certificates.iter().find(|one| !shown.contains(&&one.id));
                if let (Some(other), Some((listener, _))) = (other, open.first()) {
                    let message = format!(
                        "listener {listener} has port {} for all hosts and shows its own certificates, not that of \
                         Secret {}/{}: name it in the listener's certificateRefs, or choose another port",
                        self.options.default_https.port, other.id.namespace, other.id.name
                    );
                    self.report(key).warning(Reason::Conflicted, "spec.tls", message);
                    // Nobody is sent where a certificate waits that he will not take.
                    asked = asked.unserved();
                }
                false
            }
            HttpsAt::Blocked(listener) => {
                let message = format!(
                    "HTTPS cannot be served on port {}, which listener {listener} has: set another port for one of \
                     them; HTTP goes on",
                    self.options.default_https.port
                );
                self.report(key).error(Reason::Conflicted, "spec.tls", message);
                return asked.unserved();
            }
        };
        if is_ours && !(secured.names.is_empty() && secured.leftover.is_empty()) {
            self.part.secured = Some(Box::new(secured));
        }
        asked
    }

    /// Takes from HTTPS what listeners of Gateways have to themselves, who are asked instead: clients would be sent to where nothing of the
    /// Ingress is.
    fn leave_claimed(&mut self, key: &ObjectRef, own: &Hosts, asked: &mut Asked, secured: &mut Secured) {
        let frame = self.frame;
        let of_rules = own.of_rules.iter().filter(|host| asked.names(Some(host)));
        let names = of_rules.chain(&asked.named).chain(&asked.served);
        let claims: BTreeMap<_, _> =
            names.filter_map(|name| Some((name.clone(), frame.claim_of(name)?))).collect();
        for (name, listener) in &claims {
            let message = format!(
                "listener {listener} has port {} for {name}, so this Ingress is not served over HTTPS for it: attach an \
                 HTTPRoute there, or choose another port",
                self.options.default_https.port
            );
            self.report(key).warning(Reason::Conflicted, "spec.tls", message);
        }
        asked.served.retain(|name| !claims.contains_key(name));
        secured.names.retain(|one| !claims.contains_key(&one.name));
        let is_shown = |one: &Certificate| secured.names.iter().any(|name| name.certificate == one.id);
        secured.certificates.retain(is_shown);
        asked.elsewhere = claims.into_keys().collect();
    }

    fn entry(
        &mut self,
        (key, own): (&ObjectRef, &Hosts),
        entry: &IngressTLS,
        field: &str,
        said: &Nginx,
        asked: &mut Asked,
        secured: &mut Secured,
    ) {
        let hosts = entry.hosts.as_deref().unwrap_or_default();
        let is_for_all = hosts.iter().all(String::is_empty);
        let mut names = Vec::new();
        for (i, host) in hosts.iter().enumerate().filter(|(_, host)| !host.is_empty()) {
            let field = format!("{field}.hosts[{i}]");
            let name = pattern::host(host, &field, WildcardLabels::One, &mut self.report(key));
            let (kept, other): (Vec<_>, Vec<_>) = name.into_iter().partition(|name| own.take(name));
            names.extend(kept);
            if let Some(other) = other.first() {
                let message = format!(
                    "no rule of this Ingress is for {other}, so it is not served over HTTPS for it: write a rule, or \
                     remove the name"
                );
                self.report(key).warning(Reason::InvalidField, field, message);
            }
        }
        if names.is_empty() && !is_for_all {
            return;
        }
        let whose = match is_for_all {
            true => "its hosts".to_owned(),
            false => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        // A host's other names are shown what it is shown.
        if own.of_rules.iter().any(|host| has(&names, host)) {
            names.extend(said.aliases.iter().cloned());
        }
        asked.is_for_all |= is_for_all;
        asked.named.extend(names.iter().cloned());
        let field = format!("{field}.secretName");
        let Some(secret) = entry.secret_name.as_deref().filter(|name| !name.is_empty()) else {
            match &self.frame.default_certificate {
                Some(id) => {
                    let id = id.clone();
                    asked.serves_all |= is_for_all;
                    asked.served.extend(names.iter().cloned());
                    secured.names.extend(names.into_iter().map(|name| named(name, &id)));
                }
                None if self.options.default_certificate.is_some() => {}
                None => {
                    let message = format!(
                        "is missing, and there is no default certificate, so clients that ask for {whose} over HTTPS \
                         are refused: name a Secret, or set defaultCertificate; HTTP goes on"
                    );
                    self.report(key).error(Reason::InvalidCertificateRef, field, message);
                }
            }
            return;
        };
        let secret = ObjectRef::new(ObjectKind::Secret, &key.namespace, secret);
        self.part.services.insert(secret.clone());
        let (certificate, read) = match read_certificate(self.objects, &secret) {
            Ok(read) => read,
            Err(problem) => {
                let message = format!(
                    "{problem}, so clients that ask for {whose} over HTTPS do not get this certificate: mend the \
                     Secret; HTTP goes on"
                );
                self.report(key).error(Reason::InvalidCertificateRef, field, message);
                return;
            }
        };
        if is_for_all {
            let of_leaf =
                read.names().iter().filter_map(|name| HostPattern::parse(name, WildcardLabels::One).ok());
            names.extend(of_leaf.filter(|name| own.take(name)));
            if names.is_empty() {
                let message = format!(
                    "{secret} has a certificate without a name of this Ingress, so no client gets it: write hosts"
                );
                self.report(key).error(Reason::InvalidCertificateRef, field.clone(), message);
                return;
            }
        }
        names.extend(own.www.iter().filter(|other| covers(&read, other)).cloned());
        let mut report = Report::new(key, &mut self.part.diagnostics);
        if let Some(name) = names.iter().find(|name| !covers(&read, name)) {
            let message = format!(
                "{secret} has a certificate without the name {name}, which its clients will not take: have it issued for \
                 all hosts"
            );
            report.warning(Reason::InvalidCertificateRef, field, message);
        }
        asked.serves_all |= is_for_all && self.frame.default_certificate.is_some();
        asked.served.extend(names.iter().cloned());
        secured.names.extend(names.into_iter().map(|name| named(name, &certificate.id)));
        secured.certificates.push(certificate);
    }
}

fn named(name: HostPattern, certificate: &CertificateId) -> NamedCertificate {
    NamedCertificate { name, certificate: certificate.clone() }
}

/// Whether clients that ask for any name of a pattern take the certificate.
fn covers(certificate: &tls::Certificate, name: &HostPattern) -> bool {
    match name {
        HostPattern::Exact(name) => certificate.covers(name),
        HostPattern::Wildcard { .. } => certificate.names().contains(&name.to_string()),
    }
}

fn other_name(host: &HostPattern) -> Option<HostPattern> {
    let HostPattern::Exact(name) = host else { return None };
    HostPattern::parse(&nginx::with_or_without_www(name), WildcardLabels::One).ok()
}
