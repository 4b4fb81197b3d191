use std::sync::Arc;

use model::{Certificate, CertificateId, ObjectKind, ObjectRef, Reason, SecretBytes};
use resources::core::Secret;
use resources::gateway::{Gateway, GatewayListeners};

use super::authorities::Reference;
use super::frame::Framing;
use super::grants::permits;
use crate::objects::Objects;

impl Framing<'_> {
    /// The certificates of a listener; none if not one of them can be used.
    pub(super) fn certificates_of(
        &mut self,
        gateway: &ObjectRef,
        listener: &GatewayListeners,
        field: &str,
    ) -> Option<Vec<CertificateId>> {
        let mut ids = Vec::new();
        let refs = listener.tls.iter().filter_map(|tls| tls.certificate_refs.as_ref()).flatten();
        for (i, reference) in refs.enumerate() {
            let reference = Reference {
                group: reference.group.as_deref().unwrap_or(""),
                kind: reference.kind.as_deref().unwrap_or("Secret"),
                namespace: reference.namespace.as_deref().unwrap_or(&gateway.namespace),
                name: &reference.name,
            };
            match self.certificate(gateway, reference) {
                Ok(certificate) => {
                    ids.push(certificate.id.clone());
                    self.frame.certificates.insert(certificate.id.clone(), certificate);
                }
                Err((reason, message)) => {
                    let field = format!("{field}.tls.certificateRefs[{i}]");
                    self.report(gateway).error(reason, field, message);
                }
            }
        }
        (!ids.is_empty()).then_some(ids)
    }

    /// What a Gateway shows to endpoints that ask for a certificate.
    pub(super) fn backend_certificate(
        &mut self,
        key: &ObjectRef,
        gateway: &Gateway,
    ) -> Option<CertificateId> {
        let backend = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
        let reference = backend.and_then(|backend| backend.client_certificate_ref.as_ref())?;
        let reference = Reference {
            group: reference.group.as_deref().unwrap_or(""),
            kind: reference.kind.as_deref().unwrap_or("Secret"),
            namespace: reference.namespace.as_deref().unwrap_or(&key.namespace),
            name: &reference.name,
        };
        match self.certificate(key, reference) {
            Ok(certificate) => {
                let id = certificate.id.clone();
                self.frame.certificates.insert(id.clone(), certificate);
                Some(id)
            }
            Err((reason, message)) => {
                let reason = match reason {
                    Reason::InvalidCertificateRef => Reason::InvalidClientCertificateRef,
                    other => other,
                };
                let message = format!("{message}; endpoints that ask for a certificate are shown none");
                self.report(key).error(reason, "spec.tls.backend.clientCertificateRef", message);
                None
            }
        }
    }

    fn certificate(
        &mut self,
        gateway: &ObjectRef,
        reference: Reference<'_>,
    ) -> Result<Certificate, (Reason, String)> {
        let invalid = |message: String| Err((Reason::InvalidCertificateRef, message));
        let Reference { group, kind, namespace, name } = reference;
        if (group, kind) != ("", "Secret") {
            return invalid(format!("{kind} is no kind that holds certificates: name a Secret"));
        }
        if namespace != &*gateway.namespace && !permits(self.objects, gateway, "Secret", namespace, name) {
            let message = format!(
                "Secret {namespace}/{name} is in another namespace without a ReferenceGrant there for {} of namespace {}: \
                 add one, or move it",
                gateway.kind, gateway.namespace
            );
            return Err((Reason::RefNotPermitted, message));
        }
        let key = ObjectRef::new(ObjectKind::Secret, namespace, name);
        self.frame.bundles.insert(key.clone());
        match read_certificate(self.objects, &key) {
            Ok((certificate, _)) => Ok(certificate),
            Err(problem) => invalid(problem),
        }
    }

    /// The certificate of the settings, for clients that ask for names of nobody.
    pub(super) fn default_certificate(&mut self) -> Option<CertificateId> {
        let CertificateId { namespace, name } = self.options.default_certificate.as_ref()?;
        let key = ObjectRef::new(ObjectKind::Secret, namespace, name);
        self.frame.bundles.insert(key.clone());
        match read_certificate(self.objects, &key) {
            Ok((certificate, _)) => {
                let id = certificate.id.clone();
                self.frame.certificates.insert(id.clone(), certificate);
                Some(id)
            }
            Err(problem) => {
                let message = format!(
                    "{problem}, which the setting defaultCertificate names: clients that ask for names without a \
                     certificate are refused until it is there"
                );
                self.report(&key).error(Reason::InvalidCertificateRef, "", message);
                None
            }
        }
    }
}

/// The certificate in a Secret, as a record and as it was read.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_certificate(
    objects: &Objects,
    key: &ObjectRef,
) -> Result<(Certificate, tls::Certificate), String> {
    let Some(secret) = objects.secrets.get(key) else {
        return Err(format!("there is no {key}"));
    };
    match secret.type_.as_deref() {
        Some("kubernetes.io/tls") => {}
        other => {
            let other = other.unwrap_or("Opaque");
            return Err(format!("{key} has type {other:?}: it must be kubernetes.io/tls"));
        }
    }
    let (Some(chain), Some(private)) = (entry(secret, "tls.crt"), entry(secret, "tls.key")) else {
        return Err(format!("{key} must hold tls.crt and tls.key"));
    };
    let read = tls::Certificate::from_pem(&chain, &private).map_err(|error| {
        let part = if error.is_about_key() { "tls.key" } else { "tls.crt" };
        format!("{part} of {key} {error}")
    })?;
    let id = CertificateId { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) };
    Ok((Certificate { id, chain_pem: chain.into(), key_pem: SecretBytes::new(&private) }, read))
}

/// An entry of a Secret; `stringData` is what `data` becomes in the API server, and wins there.
pub(super) fn entry(secret: &Secret, name: &str) -> Option<Vec<u8>> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(name)).map(|text| text.as_bytes());
    let bytes = secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice());
    text.or(bytes).map(<[u8]>::to_vec)
}
