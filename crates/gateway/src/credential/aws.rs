//! The credential of a hop to Bedrock: a signature over the request (AWS Signature Version 4, crate `aws-sigv4`), or an API key of Bedrock's, which
//! is a bearer. Which one it is, the text of the credential says: a key pair has a colon in it, and an API key has none.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;

/// What requests to Bedrock's models are signed for (its signing name).
const SERVICE: &str = "bedrock";

/// What only this hop has: whatever came by these names is not what is signed.
const OWN: [&str; 4] = ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];

/// What a text is not that is no key.
pub(crate) const FORM: &str =
    "it is not ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN behind it where there is one";

/// Whether a text may be a key of Bedrock's, of either kind.
pub(crate) fn is_key(text: &str) -> bool {
    !text.contains(':') || KeyPair::of(text).is_some()
}

/// What is to be signed, and the headers that it goes with.
pub(super) struct Signed<'r> {
    pub(super) method: &'r Method,
    pub(super) uri: &'r Uri,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

/// The headers that authenticate the gateway to Bedrock for one request, in place of all that it has by their names ([`strip`]).
///
/// # Errors
/// `credential_unavailable` for a text that is neither a key pair nor an API key.
pub(super) fn headers(
    provider: &LlmProvider,
    key: &HeaderValue,
    request: &Signed<'_>,
    now: SystemTime,
) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let text = key.to_str().map_err(|error| unavailable(provider, error))?;
    if !text.contains(':') {
        let value = HeaderValue::try_from(format!("Bearer {text}"));
        return Ok(vec![(AUTHORIZATION, secret(value.map_err(|error| unavailable(provider, error))?))]);
    }
    let pair = KeyPair::of(text).ok_or_else(|| unavailable(provider, FORM))?;
    let region = provider.region.as_deref().unwrap_or_default();
    pair.sign(region, request, now).map_err(|error| unavailable(provider, error))
}

/// Takes out what only this hop has.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in OWN {
        headers.remove(name);
    }
}

/// A key of AWS's. It has no `Debug`.
struct KeyPair<'t> {
    id: &'t str,
    secret: &'t str,
    session: Option<&'t str>,
}

impl<'t> KeyPair<'t> {
    /// None of its parts has a colon.
    fn of(text: &'t str) -> Option<Self> {
        let mut parts = text.split(':');
        let (id, secret, session) = (parts.next()?, parts.next()?, parts.next());
        let is_whole = parts.next().is_none() && !id.is_empty() && !secret.is_empty() && session != Some("");
        let is_id = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_whole && is_id).then_some(Self { id, secret, session })
    }

    /// What is signed is the method, the address, the body, and of the headers those that no proxy rewrites.
    fn sign(
        &self,
        region: &str,
        request: &Signed<'_>,
        now: SystemTime,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Unsigned> {
        let host = host_of(request.uri).ok_or_else(|| Unsigned::of("the address has no host"))?;
        let kind = request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let fields = [("host", Some(&*host)), ("content-type", kind)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let session = self.session.map(str::to_owned);
        let identity = Credentials::new(self.id, self.secret, session, None, "vidimus").into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(Unsigned::of)?
            .into();
        let body = SignableBody::Bytes(request.body);
        let signable = SignableRequest::new(request.method.as_str(), request.uri.to_string(), fields, body);
        let signed = sign(signable.map_err(Unsigned::of)?, &params).map_err(Unsigned::of)?;
        let (instructions, _) = signed.into_parts();
        let (added, _) = instructions.into_parts();
        let added = added.into_iter().map(|field| {
            let name = HeaderName::from_bytes(field.name().as_bytes()).map_err(Unsigned::of)?;
            let value = HeaderValue::from_str(field.value()).map_err(Unsigned::of)?;
            Ok((name, secret(value)))
        });
        added.collect()
    }
}

/// Why nothing was signed. Nothing of a key is in it.
#[derive(Debug)]
struct Unsigned(String);

impl Unsigned {
    fn of(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The field `Host` as the client writes it. A registered address has no port that is its scheme's own.
fn host_of(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    Some(uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn unavailable(provider: &LlmProvider, reason: impl ToString) -> Refusal {
    let message = format!("the key of LLMProvider {} is not available", provider.id.id);
    Refusal::new(Code::CredentialUnavailable, message).with_detail(reason)
}

#[cfg(test)]
mod tests;
