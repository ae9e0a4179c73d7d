//! The certificate of `--tls-cert` and `--tls-key` (or of a registry's connection), read again when the files change: whoever issues it renews it without asking.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use vidimus_identity::{ServerCertificate, read_regular};

use super::supervisor::Supervisor;
use crate::cmd::data_directory;

/// Largest of the files, in bytes.
const MAX: u64 = 1 << 20;

/// How often the files are looked at. Reading them says more than a notification would: they may be mounted, linked, or renamed.
const LOOK: Duration = Duration::from_secs(1);

/// Two files, and what was made of them.
#[derive(Debug)]
pub(in crate::cmd) struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    /// What they held when they were read last, whether that could be used or not.
    content: Content,
    certificate: ServerCertificate,
}

/// The chain, and a digest of the key: that the key is another one is all that has to be known of the former.
type Content = (Vec<u8>, u64);

impl CertificateFiles {
    pub(super) fn open(chain: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        Self::open_by(("tls-cert", "tls-key"), chain, key)
    }

    /// The same, of flags of these names.
    pub(in crate::cmd) fn open_by(
        (chain_flag, key_flag): (&str, &str),
        chain: PathBuf,
        key: PathBuf,
    ) -> anyhow::Result<Self> {
        let read = |flag: &str, path: &PathBuf| {
            read_regular(path, MAX).with_context(|| format!("--{flag} {}", path.display()))
        };
        let (chain_pem, key_pem) = (read(chain_flag, &chain)?, read(key_flag, &key)?);
        data_directory::for_its_owner(&key).with_context(|| format!("--{key_flag}"))?;
        let content = (chain_pem.clone(), digest(&key_pem));
        let certificate = certificate(&chain_pem, key_pem)
            .with_context(|| format!("--{chain_flag} {} --{key_flag} {}", chain.display(), key.display()))?;
        Ok(Self { chain, key, content, certificate })
    }

    /// What is presented. It is renewed where it is.
    pub(in crate::cmd) fn certificate(&self) -> ServerCertificate {
        self.certificate.clone()
    }

    /// Takes every change of the files into the certificate, for as long as the process lives.
    pub(in crate::cmd) fn follow(mut self, supervisor: &mut Supervisor) {
        supervisor.repeated_beside("certificate", LOOK, move || match self.refresh() {
            Ok(true) => tracing::info!(chain = %self.chain.display(), "certificate reloaded"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = format!("{error:#}"), "the certificate stays as it was"),
        });
    }

    /// Whether the certificate changed. Files that cannot be used change nothing, and are reported once. One is written after the
    /// other, so for a moment they may not belong together.
    fn refresh(&mut self) -> anyhow::Result<bool> {
        // A file that is gone reads as an empty one, so that its absence too is reported once.
        let (chain, key) = (
            read_regular(&self.chain, MAX).unwrap_or_default(),
            read_regular(&self.key, MAX).unwrap_or_default(),
        );
        let content = (chain, digest(&key));
        if content == self.content {
            return Ok(false);
        }
        self.content = content;
        data_directory::for_its_owner(&self.key)?;
        let newer = certificate(&self.content.0, key)
            .with_context(|| format!("{} and {}", self.chain.display(), self.key.display()))?;
        self.certificate.update(&newer);
        Ok(true)
    }
}

fn certificate(chain: &[u8], key: Vec<u8>) -> anyhow::Result<ServerCertificate> {
    let key: SecretString = String::from_utf8(key).context("the private key is not PEM")?.into();
    Ok(ServerCertificate::from_pem(chain, &key)?)
}

/// Keyed by this process, so it tells nothing of the key.
fn digest(key: &[u8]) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    static STATE: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    STATE.hash_one(key)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use vidimus_core::caller::UnixMillis;
    use vidimus_identity::{LocalIdentity, SpiffeId, TrustDomain};

    use super::*;

    #[test]
    fn changed_files_are_taken_up_and_unusable_ones_change_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let domain = TrustDomain::new("corp.example").expect("a trust domain");
        let now = UnixMillis(1_800_000_000_000);
        let identity = LocalIdentity::open(&at("identity"), Some(&domain), now).expect("an identity");
        let id = SpiffeId::parse("spiffe://corp.example/gateway").expect("an id");
        let issue = |name: &str| {
            let svid = identity.svid(&id, Duration::from_secs(3600), now).expect("a certificate");
            svid.write(&at(&format!("{name}.crt")), &at(&format!("{name}.key"))).expect("written");
        };
        issue("first");
        issue("second");
        let (chain, key) = (at("tls.crt"), at("tls.key"));
        let copy = |name: &str, to: &PathBuf| assert!(fs::copy(at(name), to).expect("copied") > 0);
        assert!(CertificateFiles::open(chain.clone(), key.clone()).is_err(), "there is nothing");
        copy("first.crt", &chain);
        copy("second.key", &key);
        assert!(CertificateFiles::open(chain.clone(), key.clone()).is_err(), "they do not belong together");
        copy("first.key", &key);
        let mut files = CertificateFiles::open(chain.clone(), key.clone()).expect("a certificate");
        assert!(!files.refresh().expect("unchanged"));
        copy("second.crt", &chain);
        files.refresh().expect_err("half of the change");
        assert!(!files.refresh().expect("reported once"));
        copy("second.key", &key);
        assert!(files.refresh().expect("the other half"));
        fs::remove_file(&key).expect("removed");
        files.refresh().expect_err("no key");
        assert!(!files.refresh().expect("reported once"));
        copy("second.key", &key);
        assert!(files.refresh().expect("as before"));
    }
}
