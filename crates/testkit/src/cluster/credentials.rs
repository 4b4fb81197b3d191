//! What the lab's programs show one another: an authority of its own, certificates, tokens, kubeconfigs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The authority of a cluster, with the folder that holds its files.
#[derive(Debug)]
pub(super) struct Credentials {
    folder: PathBuf,
    authority: Issuer<'static, KeyPair>,
    /// The authority's certificate (PEM).
    pub(super) ca: String,
}

/// Who may do everything.
pub(super) const ADMIN: User = User { name: "admin", group: "system:masters", token: "admin-of-the-lab" };
/// kube-controller-manager; it makes tokens of its own for each of its controllers.
pub(super) const CONTROLLERS: User =
    User { name: "system:kube-controller-manager", group: "system:masters", token: "controllers-of-the-lab" };
/// kube-scheduler.
pub(super) const SCHEDULER: User =
    User { name: "system:kube-scheduler", group: "", token: "scheduler-of-the-lab" };

/// A user of the API server's token file.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    name: &'static str,
    group: &'static str,
    pub(super) token: &'static str,
}

impl Credentials {
    /// Makes the authority and writes `ca.pem`, the keys of service accounts and `tokens.csv` into `folder`.
    pub(super) fn write(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "cluster lab");
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?.pem();
        let this = Self { folder: folder.to_owned(), authority: Issuer::new(params, key), ca };
        this.file("ca.pem", &this.ca)?;
        let accounts = KeyPair::generate()?;
        this.file("service-accounts-key.pem", &accounts.serialize_pem())?;
        this.file("service-accounts.pem", &accounts.public_key_pem())?;
        let tokens: String = [ADMIN, CONTROLLERS, SCHEDULER]
            .iter()
            .map(|User { name, group, token }| format!("{token},{name},{name},\"{group}\"\n"))
            .collect();
        this.file("tokens.csv", &tokens)?;
        Ok(this)
    }

    /// The path of a file of this authority.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `NAME.pem` and `NAME-key.pem`: a certificate for these names and addresses, and its key.
    pub(super) fn server(&self, name: &str, subjects: &[&str]) -> Result<(PathBuf, PathBuf)> {
        let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
        let mut params = CertificateParams::new(subjects)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.authority)?;
        let chain = self.file(&format!("{name}.pem"), &certificate.pem())?;
        Ok((chain, self.file(&format!("{name}-key.pem"), &key.serialize_pem())?))
    }

    /// Writes a kubeconfig for `user` of the API server at `url`.
    pub(super) fn kubeconfig(&self, name: &str, url: &str, user: User) -> Result<PathBuf> {
        self.file(name, &kubeconfig(url, &self.path("ca.pem"), user.token))
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A kubeconfig (v1) with one cluster and one user.
pub(super) fn kubeconfig(url: &str, ca: &Path, token: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: {url}
    certificate-authority: {}
users:
- name: lab
  user:
    token: {token}
contexts:
- name: lab
  context:
    cluster: lab
    user: lab
current-context: lab
",
        ca.display()
    )
}
