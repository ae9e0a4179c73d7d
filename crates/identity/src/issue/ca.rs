//! The built-in CA: certificates for workloads and for the gateway itself.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use vidimus_core::caller::UnixMillis;

use crate::spiffe::{SpiffeId, TrustDomain};

/// How far before its making a certificate begins to be valid, for peers whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(60);
/// The life of the CA. It is not rotated: an installation that lives longer than this has a CA of its own by then.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A certificate and its private key, both PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) not_after: UnixMillis,
}

/// The certificate of a new CA for `domain` (X509-SVID sections 2 and 4: the trust domain as its URI name).
pub(crate) fn root(domain: &TrustDomain, key: &KeyPair, now: UnixMillis) -> Result<String, rcgen::Error> {
    let mut params = params(&format!("Vidimus local CA of {domain}"), now, CA_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(format!("spiffe://{domain}"))?)];
    Ok(params.self_signed(key)?.pem())
}

/// An X.509-SVID for a workload.
pub(crate) fn workload(
    issuer: &Issuer<'_, KeyPair>,
    id: &SpiffeId,
    now: UnixMillis,
    ttl: Duration,
) -> Result<Issued, rcgen::Error> {
    let names = vec![SanType::URI(Ia5String::try_from(id.as_str())?)];
    let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    leaf(issuer, "Vidimus workload", names, usages, now, ttl)
}

/// A certificate for a server that is reached under `names` (DNS names and IP addresses).
pub(crate) fn server(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    now: UnixMillis,
    ttl: Duration,
) -> Result<Issued, rcgen::Error> {
    let names = names.iter().map(|name| match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ia5String::try_from(name.as_str()).map(SanType::DnsName),
    });
    let names = names.collect::<Result<_, _>>()?;
    leaf(issuer, "Vidimus gateway", names, vec![ExtendedKeyUsagePurpose::ServerAuth], now, ttl)
}

fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    names: Vec<SanType>,
    usages: Vec<ExtendedKeyUsagePurpose>,
    now: UnixMillis,
    ttl: Duration,
) -> Result<Issued, rcgen::Error> {
    let mut params = params(name, now, ttl)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.subject_alt_names = names;
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, issuer)?.pem();
    let not_after = UnixMillis(params.not_after.unix_timestamp().saturating_mul(1000));
    Ok(Issued { certificate, key: key.serialize_pem(), not_after })
}

fn params(name: &str, now: UnixMillis, life: Duration) -> Result<CertificateParams, rcgen::Error> {
    let now = OffsetDateTime::from_unix_timestamp(now.0.div_euclid(1000)).map_err(|_| rcgen::Error::Time)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now.checked_sub(signed(BACKDATED)?).ok_or(rcgen::Error::Time)?;
    params.not_after = now.checked_add(signed(life)?).ok_or(rcgen::Error::Time)?;
    Ok(params)
}

fn signed(duration: Duration) -> Result<time::Duration, rcgen::Error> {
    time::Duration::try_from(duration).map_err(|_| rcgen::Error::Time)
}
