//! How an Ingress wants endpoints to be spoken to: what its annotations say, with the Secret that they name.

use std::sync::Arc;

use model::{
    Authorities, BackendSecurity, BackendTls, Certificate, CertificateId, ObjectKind, ObjectRef, PeerName,
    PemBundle, Reason, SecretBytes, Speaks, SpokenTls,
};

use super::Builder;
use super::certificates::entry;
use super::grants::permits;
use crate::nginx::{self, Spoken};
use crate::objects::Objects;
use crate::pattern;
use crate::report::Report;

/// What a Secret of `proxy-ssl-secret` holds.
struct Held {
    authorities: Option<PemBundle>,
    certificate: Option<Certificate>,
}

impl Builder<'_> {
    /// What becomes part of the names of the Ingress's backends; none: as their Services say.
    ///
    /// # Errors
    /// The Secret cannot be used, or is not the Ingress's to name: that has been reported.
    pub(super) fn spoken(&mut self, key: &ObjectRef, spoken: &Spoken) -> Result<Arc<Speaks>, ()> {
        let mut speaks = spoken.speaks.clone();
        let (Some(name), Some(tls)) = (&spoken.secret, &mut speaks.tls) else { return Ok(Arc::new(speaks)) };
        let (namespace, name) = name.split_once('/').unwrap_or((&key.namespace, name));
        let secret = ObjectRef::new(ObjectKind::Secret, namespace, name);
        let field = nginx::field("proxy-ssl-secret");
        let refused = if !pattern::is_object_name(namespace) || !pattern::is_object_name(name) {
            Some((Reason::InvalidField, format!("{name:?} is no name of a Secret")))
        } else if namespace != &*key.namespace && !permits(self.objects, key, "Secret", namespace, name) {
            let message = format!(
                "{secret} is in another namespace without a ReferenceGrant there for Ingress of namespace {}",
                key.namespace
            );
            Some((Reason::RefNotPermitted, message))
        } else {
            // Its coming and going changes what is said here.
            self.part.services.insert(secret.clone());
            let held = held(&secret, tls.is_verified, self.objects);
            held.err().map(|problem| (Reason::InvalidSecretRef, problem))
        };
        if let Some((reason, problem)) = refused {
            let message = format!("{problem}, so the Ingress answers 500");
            self.report(key).error(reason, field, message);
            return Err(());
        }
        tls.secret = Some(secret);
        Ok(Arc::new(speaks))
    }
}

/// TLS to the endpoints of `service` as a BackendTLSPolicy has it, shown what `tls` has for them.
pub(super) fn shown(policed: &BackendTls, tls: &SpokenTls, objects: &Objects) -> BackendSecurity {
    let held = tls.secret.as_ref().map(|secret| held(secret, false, objects)).transpose();
    let Ok(held) = held else { return BackendSecurity::Broken };
    let own = held.and_then(|held| held.certificate).map(Arc::new);
    let certificate = own.or_else(|| policed.certificate.clone());
    BackendSecurity::Tls(Arc::new(BackendTls { certificate, ..policed.clone() }))
}

/// TLS to the endpoints of `port` of `service` as `tls` has it. What cannot be has been reported where it is said. `wants_tls`: the
/// Service says TLS itself, which is never taken on trust.
pub(super) fn security(
    service: &ObjectRef,
    tls: &SpokenTls,
    (port, wants_tls): (i32, bool),
    objects: &Objects,
    report: &mut Report<'_>,
) -> BackendSecurity {
    let held = tls.secret.as_ref().map(|secret| held(secret, tls.is_verified, objects)).transpose();
    let Ok(held) = held else { return BackendSecurity::Broken };
    let (bundle, certificate) =
        held.map_or((None, None), |held| (held.authorities, held.certificate.map(Arc::new)));
    let server_name =
        tls.name.clone().unwrap_or_else(|| format!("{}.{}.svc", service.name, service.namespace).into());
    let names = vec![PeerName::Dns(server_name.clone())];
    let authorities = match (tls.is_verified, bundle) {
        (true, Some(bundle)) => Authorities::Bundle(bundle),
        (true, None) => Authorities::System,
        (false, _) if wants_tls => {
            let message = format!(
                "port {port} speaks TLS, and neither a BackendTLSPolicy nor proxy-ssl-verify of an Ingress says who its \
                 endpoints are: requests go to those with a certificate for {server_name} by an authority of this \
                 system; others get 502"
            );
            report.warning(Reason::NoTlsPolicy, "spec.ports", message);
            Authorities::System
        }
        (false, _) => {
            let message = format!(
                "an Ingress asks for TLS to port {port} without proxy-ssl-verify, and no BackendTLSPolicy says who its \
                 endpoints are: whatever certificate they show is taken"
            );
            report.warning(Reason::NoTlsPolicy, "spec.ports", message);
            Authorities::Anybody
        }
    };
    let tells_name = tls.tells_name;
    BackendSecurity::Tls(Arc::new(BackendTls { server_name, tells_name, names, authorities, certificate }))
}

/// Reads `ca.crt`, and `tls.crt` with `tls.key`.
///
/// # Errors
/// What is wrong with it.
fn held(key: &ObjectRef, is_verified: bool, objects: &Objects) -> Result<Held, String> {
    let secret = objects.secrets.get(key).ok_or_else(|| format!("there is no {key}"))?;
    let authorities = match entry(secret, "ca.crt") {
        _ if !is_verified => None,
        None => return Err(format!("{key} has no entry ca.crt, by which endpoints could be verified")),
        Some(pem) => {
            let read = tls::Authorities::from_pem(&pem);
            read.map_err(|error| format!("ca.crt of {key} {error}"))?;
            Some(PemBundle::new(&pem))
        }
    };
    let certificate = match (entry(secret, "tls.crt"), entry(secret, "tls.key")) {
        (None, None) => None,
        (Some(chain), Some(private)) => {
            tls::Certificate::from_pem(&chain, &private).map_err(|error| {
                let part = if error.is_about_key() { "tls.key" } else { "tls.crt" };
                format!("{part} of {key} {error}")
            })?;
            let id = CertificateId { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) };
            Some(Certificate { id, chain_pem: chain.into(), key_pem: SecretBytes::new(&private) })
        }
        _ => return Err(format!("{key} has one of tls.crt and tls.key without the other")),
    };
    Ok(Held { authorities, certificate })
}
