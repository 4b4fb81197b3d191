use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::{covers_name, subject_names};
use crate::provider::provider;
use crate::{Authorities, ConfigError};

/// A name that a certificate may have (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// A DNS name. `*.example.com` stands for every name with one label more.
    Dns(String),
    /// A URI, compared as it is written: `spiffe://example.com/ns/shop/sa/cart`.
    Uri(String),
}

/// Takes an endpoint that is one of several.
#[derive(Debug)]
pub(crate) struct OneOf {
    authorities: Authorities,
    names: Vec<ServerName<'static>>,
    wildcards: Vec<String>,
    uris: Vec<String>,
}

impl OneOf {
    pub(crate) fn new(authorities: Authorities, allowed: &[PeerName]) -> Result<Self, ConfigError> {
        let (mut names, mut wildcards, mut uris) = (Vec::new(), Vec::new(), Vec::new());
        for name in allowed {
            match name {
                PeerName::Uri(uri) => uris.push(uri.clone()),
                PeerName::Dns(name) if name.starts_with("*.") => wildcards.push(name.to_ascii_lowercase()),
                PeerName::Dns(name) => {
                    names.push(ServerName::try_from(name.clone()).map_err(|_| ConfigError::BadServerName)?);
                }
            }
        }
        if allowed.is_empty() {
            return Err(ConfigError::NoPeerName);
        }
        Ok(Self { authorities, names, wildcards, uris })
    }

    fn has_name(&self, parsed: &ParsedCertificate<'_>, der: &CertificateDer<'_>) -> bool {
        self.names.iter().any(|name| verify_server_name(parsed, name).is_ok())
            || ((!self.uris.is_empty() || !self.wildcards.is_empty()) && self.has_other_name(der))
    }

    fn has_other_name(&self, der: &CertificateDer<'_>) -> bool {
        let Ok((_, leaf)) = X509Certificate::from_der(der) else { return false };
        let found = subject_names(&leaf);
        let is_allowed = |name: &String| self.wildcards.iter().any(|w| w == name || covers_name(w, name));
        found.dns.iter().any(is_allowed) || found.uris.iter().any(|uri| self.uris.contains(uri))
    }
}

impl ServerCertVerifier for OneOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms.all;
        let roots = &self.authorities.0;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        if self.has_name(&parsed, end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
