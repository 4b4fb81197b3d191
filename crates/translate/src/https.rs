//! Who is shown what at the default listener for HTTPS: what all Ingresses bring, put together.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Certificate, CertificateId, Diagnostic, HostPattern, NamedCertificate, ObjectRef, Reason, WildcardLabels,
};

use crate::build::Secured;
use crate::pattern::after_label;

/// The Ingress that a name comes from, and what is shown.
type Shown<'p> = (&'p ObjectRef, &'p CertificateId);

type ByName<'p> = BTreeMap<&'p HostPattern, Shown<'p>>;

/// The names of Ingresses, and their certificates.
#[derive(Debug, Default)]
pub(crate) struct Https {
    /// Each once, by precedence.
    pub(crate) names: Vec<NamedCertificate>,
    pub(crate) certificates: BTreeMap<CertificateId, Certificate>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Https {
    /// Puts together what Ingresses bring: where two bring the same name, that of the older one counts, else of the first by name. Names that an
    /// Ingress has no rule for come after all others: an exact one counts only where no Ingress has rules for a wildcard that stands for it.
    pub(crate) fn build<'p>(all: impl Iterator<Item = (&'p ObjectRef, &'p Secured)>) -> Self {
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(key, secured)| (secured.created_unix_s.unwrap_or(i64::MAX), *key));
        let mut by_name = ByName::new();
        let mut this = Self::default();
        for (key, secured) in &all {
            for NamedCertificate { name, certificate } in &secured.names {
                let first = *by_name.entry(name).or_insert((*key, certificate));
                this.say_unless_same(name, first, (*key, certificate), "which is older");
            }
            let new = secured.certificates.iter().map(|one| (one.id.clone(), one.clone()));
            this.certificates.extend(new);
        }
        let mut leftover = ByName::new();
        for (key, secured) in all {
            for NamedCertificate { name, certificate } in &secured.leftover {
                let ruled = by_name.get(name).or_else(|| by_name.get(&wildcard_of(name)?));
                if let Some(first) = ruled {
                    this.say_unless_same(name, *first, (key, certificate), "which has a rule for it");
                    continue;
                }
                let first = *leftover.entry(name).or_insert((key, certificate));
                this.say_unless_same(name, first, (key, certificate), "which is older");
            }
        }
        by_name.extend(leftover);
        let named = |(name, (_, certificate)): (&HostPattern, (_, &CertificateId))| NamedCertificate {
            name: name.clone(),
            certificate: certificate.clone(),
        };
        this.names = by_name.into_iter().map(named).collect();
        let shown: BTreeSet<_> = this.names.iter().map(|one| &one.certificate).collect();
        this.certificates.retain(|id, _| shown.contains(id));
        this
    }

    /// Says of an Ingress that a name has the certificate of another one, if that is so.
    fn say_unless_same(&mut self, name: &HostPattern, (first, shown): Shown<'_>, own: Shown<'_>, why: &str) {
        let (key, certificate) = own;
        if first != key && shown != certificate {
            let message = format!(
                "{name} has the certificate of Secret {}/{} at {first}, {why}: clients are not shown that of Secret \
                 {}/{}; remove one of them",
                shown.namespace, shown.name, certificate.namespace, certificate.name
            );
            self.diagnostics.push(Diagnostic::warning(Reason::Conflicted, key, "spec.tls", message));
        }
    }
}

/// The wildcard that an exact name belongs to.
fn wildcard_of(name: &HostPattern) -> Option<HostPattern> {
    let HostPattern::Exact(name) = name else { return None };
    Some(HostPattern::Wildcard { suffix: after_label(name)?.into(), labels: WildcardLabels::One })
}
