//! Who is shown what at the default listener for HTTPS: what all Ingresses bring, put together.

use std::collections::{BTreeMap, BTreeSet};

use model::{Certificate, CertificateId, Diagnostic, HostPattern, NamedCertificate, ObjectRef, Reason};

use crate::build::Secured;

/// The names of Ingresses, and their certificates.
#[derive(Debug, Default)]
pub(crate) struct Https {
    /// Each once, by precedence.
    pub(crate) names: Vec<NamedCertificate>,
    pub(crate) certificates: BTreeMap<CertificateId, Certificate>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Https {
    /// Puts together what Ingresses bring: where two bring the same name, that of the older one counts, else of the first by name.
    pub(crate) fn build<'p>(all: impl Iterator<Item = (&'p ObjectRef, &'p Secured)>) -> Self {
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(key, secured)| (secured.created_unix_s.unwrap_or(i64::MAX), *key));
        let mut by_name: BTreeMap<&HostPattern, (&ObjectRef, &CertificateId)> = BTreeMap::new();
        let mut this = Self::default();
        for (key, secured) in all {
            for NamedCertificate { name, certificate } in &secured.names {
                let (first, shown) = *by_name.entry(name).or_insert((key, certificate));
                if first != key && shown != certificate {
                    let message = format!(
                        "{name} has the certificate of Secret {}/{} at {first}, which is older: clients are not shown \
                         that of Secret {}/{}; remove one of them",
                        shown.namespace, shown.name, certificate.namespace, certificate.name
                    );
                    this.diagnostics.push(Diagnostic::warning(Reason::Conflicted, key, "spec.tls", message));
                }
            }
            let new = secured.certificates.iter().map(|one| (one.id.clone(), one.clone()));
            this.certificates.extend(new);
        }
        let named = |(name, (_, certificate)): (&HostPattern, (_, &CertificateId))| NamedCertificate {
            name: name.clone(),
            certificate: certificate.clone(),
        };
        this.names = by_name.into_iter().map(named).collect();
        let shown: BTreeSet<_> = this.names.iter().map(|one| &one.certificate).collect();
        this.certificates.retain(|id, _| shown.contains(id));
        this
    }
}
