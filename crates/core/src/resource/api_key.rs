//! The key that the gateway holds for a server or an API: where it comes from, and how it is presented (ADR 100).

use std::sync::Arc;

use data_encoding::BASE64;

use super::Meta;
use super::check::Document;
use super::credential::{CredentialSource, CredentialSpec};
use super::field::header;
use super::problem::{At, Fault, Problems};

/// How a key is presented where the record does not say it: as a bearer token.
const HEADER: &str = "authorization";
const SCHEME: &str = "Bearer";
/// The scheme whose key is `user:password` (RFC 7617).
const BASIC: &str = "Basic";
/// The longest name of a scheme, in bytes.
const LONGEST: usize = 32;
/// The longest name of a parameter, in bytes.
const LONGEST_PARAMETER: usize = 128;

/// Where a key is, and by which header field it is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Where it comes from.
    pub source: CredentialSource,
    /// The header field, in lower case; of a key in the query the one from which it goes there.
    pub header: Arc<str>,
    /// The parameter of the query that it is, where it stands there.
    pub query: Option<Arc<str>>,
    /// What stands before it there (RFC 9110 section 11.4); of `authorization` alone.
    pub scheme: Option<Arc<str>>,
}

/// A key as the value of its header field.
///
/// # Errors
/// Why it is none of its scheme, without a word of what is in it.
pub fn presented(scheme: Option<&str>, key: &str) -> Result<String, &'static str> {
    match scheme {
        None => Ok(key.to_owned()),
        Some(scheme) if !scheme.eq_ignore_ascii_case(BASIC) => Ok(format!("{scheme} {key}")),
        Some(_) if key.contains(':') => Ok(format!("{BASIC} {}", BASE64.encode(key.as_bytes()))),
        Some(_) => Err("it is not user:password, as the scheme Basic has it"),
    }
}

/// What a record says of a key, in members of one object.
#[derive(Debug)]
pub(super) struct Written<'s> {
    pub(super) credential: Option<&'s CredentialSpec>,
    pub(super) header: Option<&'s str>,
    pub(super) query: Option<&'s str>,
    pub(super) scheme: Option<&'s str>,
}

impl Written<'_> {
    pub(super) fn check(
        &self,
        meta: &Meta,
        of: Document<'_>,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<ApiKey> {
        let (header_at, scheme_at) = (at.key("credentialHeader"), at.key("credentialScheme"));
        let query_at = at.key("credentialQuery");
        let written = self.header.unwrap_or(HEADER);
        let header = problems.take(header_at, written, header::check_credential(written));
        let Some(credential) = self.credential else {
            for (at, given) in [(header_at, self.header), (query_at, self.query), (scheme_at, self.scheme)] {
                let Some(given) = given else { continue };
                let fault =
                    Fault::new("there is no credential to present by it", "add credential, or remove it");
                problems.report(at, given, fault);
            }
            return None;
        };
        if let Some(scheme) = self.scheme {
            problems.take(scheme_at, scheme, check_scheme(scheme, header.as_deref()));
        }
        if let Some(query) = self.query {
            let is_elsewhere = self.header.or(self.scheme).is_some();
            problems.take(query_at, query, check_parameter(query, is_elsewhere));
        }
        let source = credential.check(meta, of, at.key("credential"), problems)?;
        let header = header?;
        let has_scheme = header == HEADER && self.query.is_none();
        let scheme = has_scheme.then(|| self.scheme.unwrap_or(SCHEME).into());
        Some(ApiKey { source, header: header.into(), query: self.query.map(Into::into), scheme })
    }
}

fn check_parameter(name: &str, is_elsewhere: bool) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_PARAMETER || !name.bytes().all(is_plain) {
        let fix = "write one name, as in appid; the key does not belong here";
        return Err(Fault::new("is not the name of a parameter", fix));
    }
    match is_elsewhere {
        true => Err(Fault::new(
            "a key stands in one place",
            "remove it, or credentialHeader and credentialScheme",
        )),
        false => Ok(()),
    }
}

fn check_scheme(scheme: &str, header: Option<&str>) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if scheme.is_empty() || scheme.len() > LONGEST || !scheme.bytes().all(is_plain) {
        let fix = "write one word, as in Bearer, Basic or Token; the key does not belong here";
        return Err(Fault::new("is not the name of a scheme", fix));
    }
    match header {
        Some(header) if header != HEADER => {
            Err(Fault::new("only Authorization has a scheme", "remove it, or credentialHeader"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_presented_as_its_scheme_has_it() {
        assert_eq!(presented(None, "k"), Ok("k".to_owned()));
        assert_eq!(presented(Some("Bearer"), "k"), Ok("Bearer k".to_owned()));
        assert_eq!(presented(Some("Token"), "k:l"), Ok("Token k:l".to_owned()));
        // RFC 7617 section 2.
        let basic = Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned());
        assert_eq!(presented(Some("basic"), "Aladdin:open sesame"), basic);
        assert!(presented(Some("Basic"), "k").is_err());
    }

    #[test]
    fn a_scheme_is_one_word_of_authorization() {
        for scheme in ["Bearer", "Basic", "Token", "AWS4-HMAC-SHA256"] {
            assert_eq!(check_scheme(scheme, Some(HEADER)), Ok(()), "{scheme}");
        }
        for scheme in ["", "Bearer ", "a b", "a\r\nX-Evil: 1", "hunter2:secret", &"x".repeat(33)] {
            assert!(check_scheme(scheme, Some(HEADER)).is_err(), "{scheme}");
        }
        assert!(check_scheme("Bearer", Some("x-api-key")).is_err());
    }
}
