use std::collections::BTreeMap;

use model::{CertificateId, ClientValidation, ObjectRef, PemBundle, Reason};
use resources::gateway::{
    Gateway, GatewayTlsFrontendDefaultValidation, GatewayTlsFrontendDefaultValidationMode,
    GatewayTlsFrontendPerPortTlsValidation, GatewayTlsFrontendPerPortTlsValidationMode,
};

use super::authorities::{Reference, bundle};
use super::frame::Framing;

/// What a Gateway asks of the clients of its HTTPS listeners. None: it cannot be asked, so they are not served.
#[derive(Debug)]
pub(super) struct Clients {
    default: Option<ClientValidation>,
    ports: BTreeMap<u16, Option<ClientValidation>>,
}

/// What a Gateway says of TLS for all of its listeners, those of its ListenerSets among them.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) backend_certificate: Option<CertificateId>,
    pub(super) clients: Clients,
}

impl Clients {
    /// What clients of a port must show; none: the listener cannot be served.
    pub(super) fn of(&self, port: u16) -> Option<ClientValidation> {
        self.ports.get(&port).unwrap_or(&self.default).clone()
    }
}

/// `validation` of either kind.
struct Validation<'g> {
    references: Vec<Reference<'g>>,
    lets_all_in: bool,
}

impl Framing<'_> {
    /// Reads `spec.tls.frontend`.
    pub(super) fn client_validation(&mut self, key: &ObjectRef, gateway: &Gateway) -> Clients {
        let none = Clients { default: Some(ClientValidation::NotAsked), ports: BTreeMap::new() };
        let Some(frontend) = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) else {
            return none;
        };
        let default = frontend.default.validation.as_ref().map(|v| by_default(key, v));
        let default = self.validation(key, default, "spec.tls.frontend.default.validation");
        let mut ports = BTreeMap::new();
        for (i, one) in frontend.per_port.iter().flatten().enumerate() {
            let Ok(port) = u16::try_from(one.port) else { continue };
            let validation = one.tls.validation.as_ref().map(|v| by_port(key, v));
            let field = format!("spec.tls.frontend.perPort[{i}].tls.validation");
            ports.insert(port, self.validation(key, validation, &field));
        }
        Clients { default, ports }
    }

    fn validation(
        &mut self,
        key: &ObjectRef,
        validation: Option<Validation<'_>>,
        field: &str,
    ) -> Option<ClientValidation> {
        let Some(Validation { references, lets_all_in }) = validation else {
            return Some(ClientValidation::NotAsked);
        };
        let mut pem = Vec::new();
        for (i, reference) in references.iter().enumerate() {
            match bundle(reference, key, self.objects, &mut self.frame.bundles) {
                Ok(text) => {
                    pem.extend_from_slice(&text);
                    pem.push(b'\n');
                }
                Err((reason, message)) => {
                    let reason = match reason {
                        Reason::InvalidKind => Reason::InvalidCaCertificateKind,
                        other => other,
                    };
                    self.report(key).error(reason, format!("{field}.caCertificateRefs[{i}]"), message);
                }
            }
        }
        if pem.is_empty() {
            let message = "names no usable certificate of an authority, so the HTTPS listeners that it is for are not served";
            let field = format!("{field}.caCertificateRefs");
            self.report(key).error(Reason::NoValidCaCertificate, field, message);
            return None;
        }
        Some(match lets_all_in {
            true => ClientValidation::Unverified,
            false => ClientValidation::Required(PemBundle::new(&pem)),
        })
    }
}

fn by_default<'g>(key: &'g ObjectRef, validation: &'g GatewayTlsFrontendDefaultValidation) -> Validation<'g> {
    let references = validation.ca_certificate_refs.iter().map(|reference| Reference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: reference.namespace.as_deref().unwrap_or(&key.namespace),
        name: &reference.name,
    });
    let fallback = GatewayTlsFrontendDefaultValidationMode::AllowInsecureFallback;
    Validation { references: references.collect(), lets_all_in: validation.mode == Some(fallback) }
}

fn by_port<'g>(key: &'g ObjectRef, validation: &'g GatewayTlsFrontendPerPortTlsValidation) -> Validation<'g> {
    let references = validation.ca_certificate_refs.iter().map(|reference| Reference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: reference.namespace.as_deref().unwrap_or(&key.namespace),
        name: &reference.name,
    });
    let fallback = GatewayTlsFrontendPerPortTlsValidationMode::AllowInsecureFallback;
    Validation { references: references.collect(), lets_all_in: validation.mode == Some(fallback) }
}
