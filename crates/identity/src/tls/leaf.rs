//! What a server's certificate says of itself, for one who only looks.

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use vidimus_core::caller::UnixMillis;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::TlsError;

/// The first certificate of a chain: for whom it is, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLeaf {
    certificate: CertificateDer<'static>,
    /// From when on it is good.
    pub not_before: UnixMillis,
    /// Until when.
    pub not_after: UnixMillis,
}

impl ServerLeaf {
    /// Reads it from `chain`, which is PEM, leaf first. Nothing is verified.
    ///
    /// # Errors
    /// [`TlsError::Certificate`].
    pub fn read(chain: &[u8]) -> Result<Self, TlsError> {
        let wrong = |reason: String| TlsError::Certificate { reason };
        let certificate = CertificateDer::from_pem_slice(chain).map_err(|error| wrong(error.to_string()))?;
        let (not_before, not_after) = {
            let (_, read) =
                X509Certificate::from_der(&certificate).map_err(|error| wrong(error.to_string()))?;
            let at = |seconds: i64| UnixMillis(seconds.saturating_mul(1000));
            let validity = read.validity();
            (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()))
        };
        Ok(Self { certificate, not_before, not_after })
    }

    /// Whether clients that connect to `host`, a name or an address, take it as that one's.
    pub fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        ParsedCertificate::try_from(&self.certificate)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn it_says_for_whom_it_is_and_until_when() {
        let mut params = CertificateParams::new(vec!["gateway.example".to_owned(), "127.0.0.1".to_owned()])
            .expect("names");
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 7, 1);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        let leaf = ServerLeaf::read(pem.as_bytes()).expect("a certificate");
        assert_eq!((leaf.not_before.0, leaf.not_after.0), (1_767_225_600_000, 1_782_864_000_000));
        for (host, is_for) in [
            ("gateway.example", true),
            ("127.0.0.1", true),
            ("other.example", false),
            ("", false),
            ("::1", false),
        ] {
            assert_eq!(leaf.is_for(host), is_for, "{host}");
        }
        ServerLeaf::read(b"no certificate").expect_err("none");
    }
}
