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

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no certificate to show.
    #[error("no certificate")]
    NoCertificate,
    /// The library refused it.
    #[error("TLS cannot be configured so")]
    Rejected(#[source] rustls::Error),
}
