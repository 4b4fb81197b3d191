/// Why a certificate with its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No certificate in the chain's text.
    #[error("holds no PEM block of type CERTIFICATE")]
    NoCertificate,
    /// The chain's text is no PEM, or a block of it is not base64.
    #[error("is no valid PEM: {0}")]
    BadChain(#[source] rustls::pki_types::pem::Error),
    /// The leaf is no X.509 certificate.
    #[error("holds a first certificate that is no X.509")]
    BadLeaf,
    /// No key in the key's text.
    #[error("holds no PEM block of type PRIVATE KEY")]
    NoKey,
    /// The key's text is no PEM, or its block is not base64.
    #[error("is no valid PEM: {0}")]
    BadKey(#[source] rustls::pki_types::pem::Error),
    /// The key is of a kind or size that no TLS uses.
    #[error("holds a key that cannot sign: use RSA from 2048 bits, ECDSA P-256, P-384, P-521 or Ed25519")]
    UnusableKey,
    /// Key and certificate are not of one pair.
    #[error("does not belong to the certificate in tls.crt")]
    Mismatch,
}

impl CertificateError {
    /// Whether it is the key's text that is wrong, not the chain's.
    pub fn is_about_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::BadKey(_) | Self::UnusableKey | Self::Mismatch)
    }
}

/// Why a bundle of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No certificate in the text.
    #[error("holds no PEM block of type CERTIFICATE")]
    NoCertificate,
    /// The text is no PEM, or a block of it is not base64.
    #[error("is no valid PEM: {0}")]
    BadBundle(#[source] rustls::pki_types::pem::Error),
    /// A block is no certificate of an authority.
    #[error("holds a certificate that is no X.509")]
    BadCertificate,
    /// The system has no authorities where OpenSSL would look for them.
    #[error("this system has no certificate authorities: install ca-certificates or set SSL_CERT_FILE")]
    NoSystem,
}

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no certificate to show.
    #[error("no certificate")]
    NoCertificate,
    /// The authorities for clients cannot be used.
    #[error("no usable authorities for client certificates")]
    BadClientAuthorities(#[source] rustls::server::VerifierBuilderError),
    /// A name of an endpoint is no DNS name.
    #[error("an endpoint's name is no DNS name")]
    BadServerName,
    /// Nothing says who the endpoint may be.
    #[error("no name that an endpoint may have")]
    NoPeerName,
    /// The library refused it.
    #[error("TLS cannot be configured so")]
    Rejected(#[source] rustls::Error),
}
