//! The names of shared keys: what a key is for, from when it is used, and the digest of its content.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret as _, SecretSlice};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};
use vidimus_core::caller::UnixMillis;

use crate::issue::files::KeyFileError;
use crate::issue::key;

/// Bytes of a key that seals.
pub(super) const SEAL_LENGTH: usize = 32;
/// Hexadecimal digits of a content's digest in a name.
const DIGEST: usize = 16;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Seal,
    Mint,
}

impl Purpose {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Mint => "mint",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Seal => "key",
            Self::Mint => "pem",
        }
    }

    /// A new key's content.
    pub(super) fn make(self, place: &Path) -> Result<SecretSlice<u8>, KeyFileError> {
        match self {
            Self::Seal => {
                let mut bytes = vec![0_u8; SEAL_LENGTH];
                rand::fill(&mut bytes).map_err(|_| KeyFileError::Random)?;
                Ok(bytes.into())
            }
            Self::Mint => Ok(key::generate(place)?.expose_secret().as_bytes().to_vec().into()),
        }
    }
}

/// The name of a key's file: `seal.20261128T130000Z.9f86d081884c7d65.key`, `mint.….pem`. In the order of use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyName {
    /// From when it is used.
    pub(super) from: UnixMillis,
    /// The beginning of its content's SHA-256, in hexadecimal.
    pub(super) digest: String,
}

impl KeyName {
    pub(super) fn of(content: &SecretSlice<u8>, from: UnixMillis) -> Self {
        Self { from: UnixMillis(from.0.div_euclid(1000).saturating_mul(1000)), digest: shortened(content) }
    }

    pub(super) fn read(purpose: Purpose, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(purpose.word())?.strip_prefix('.')?;
        let rest = rest.strip_suffix(purpose.extension())?.strip_suffix('.')?;
        let (time, digest) = rest.split_once('.')?;
        let is_digest = digest.len() == DIGEST && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Self { from: instant(time)?, digest: is_digest.then(|| digest.to_owned())? })
    }

    pub(super) fn file(&self, purpose: Purpose) -> String {
        format!("{}.{}.{}.{}", purpose.word(), stamp(self.from), self.digest, purpose.extension())
    }
}

pub(super) fn shortened(content: &SecretSlice<u8>) -> String {
    let mut text = HEXLOWER.encode(digest(&SHA256, content.expose_secret()).as_ref());
    text.truncate(DIGEST);
    text
}

/// `20261128T130000Z`.
pub(super) fn stamp(time: UnixMillis) -> String {
    let seconds = time.0.div_euclid(1000);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

pub(super) fn instant(text: &str) -> Option<UnixMillis> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || clock.len() != 6 || !date.bytes().chain(clock.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let month = Month::try_from(number(date, 4, 6)?).ok()?;
    let date = Date::from_calendar_date(date.get(..4)?.parse().ok()?, month, number(date, 6, 8)?).ok()?;
    let clock = Time::from_hms(number(clock, 0, 2)?, number(clock, 2, 4)?, number(clock, 4, 6)?).ok()?;
    let seconds = PrimitiveDateTime::new(date, clock).assume_utc().unix_timestamp();
    Some(UnixMillis(seconds.saturating_mul(1000)))
}
