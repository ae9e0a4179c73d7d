//! A JWT in compact form (RFC 7515 section 3.1), taken apart strictly and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vidimus_core::json::{Json, JsonError};
use vidimus_core::refusal::{Code, Refusal};

use super::keys::Algorithm;

/// The maximum length of a token, in bytes.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// The maximum length of a `kid`, in bytes.
const MAX_KEY_ID: usize = 256;
/// The values of `typ` that an access token, an ID token, a JWT-SVID or a per-hop token may have, compared without case
/// and without `application/` (RFC 8725 section 3.11). Others (`dpop+jwt`, `logout+jwt`, `secevent+jwt`) mean other things.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "jose"];

/// The parts of a token.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// What is signed: header and payload as they were sent.
    pub(crate) message: &'a [u8],
    pub(crate) signature: Vec<u8>,
    /// The payload, decoded; JSON that is not parsed yet.
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn malformed(reason: impl Into<String>) -> Refusal {
    Refusal::new(Code::TokenMalformed, format!("the token is malformed: {}", reason.into()))
}

/// A value of the caller's in a message: quoted, escaped and cut.
pub(crate) fn shown(value: &str) -> String {
    const MAX_SHOWN: usize = 120;
    format!("{:?}", value.chars().take(MAX_SHOWN).collect::<String>())
}

pub(crate) fn check_size(bearer: &str) -> Result<(), Refusal> {
    if bearer.len() > MAX_TOKEN {
        return Err(malformed(format!("it has {} bytes, the limit is {MAX_TOKEN}", bearer.len())));
    }
    Ok(())
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// `TokenMalformed`, and `TokenAlgorithm` for `none`, `HS*` and everything else that is not allowed.
    pub(crate) fn parse(bearer: &'a str) -> Result<Self, Refusal> {
        check_size(bearer)?;
        let (message, signature) = bearer.rsplit_once('.').ok_or_else(|| malformed("it has no parts"))?;
        let (header, payload) =
            message.split_once('.').ok_or_else(|| malformed("it has two parts instead of three"))?;
        if payload.contains('.') {
            return Err(malformed("it has more than three parts; encrypted tokens are not read"));
        }
        let header = decode(header, "header")?;
        let (algorithm, key_id) = read_header(&parse_json(&header, "header")?)?;
        Ok(Self {
            algorithm,
            key_id,
            message: message.as_bytes(),
            signature: decode(signature, "signature")?,
            payload: decode(payload, "payload")?,
        })
    }
}

/// Canonical base64url without padding: no second spelling of the same token exists.
fn decode(part: &str, name: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed(format!("the {name} is not base64url (RFC 7515 section 2)")))
}

/// Strict JSON that is an object: a duplicate member is an error (RFC 8725 section 2.4, RFC 7519 section 4).
pub(crate) fn parse_json<'a>(bytes: &'a [u8], name: &str) -> Result<Json<'a>, Refusal> {
    let json = Json::parse(bytes).map_err(|error| match error {
        JsonError::DuplicateKey { key } => malformed(format!("the {name} has {} twice", shown(&key))),
        _ => malformed(format!("the {name} is not JSON")),
    })?;
    if json.as_object().is_none() {
        return Err(malformed(format!("the {name} is not a JSON object")));
    }
    Ok(json)
}

/// Keys inside or behind the header (`jwk`, `jku`, `x5c`, `x5u`) are never looked at (RFC 8725 section 3.10).
fn read_header(header: &Json<'_>) -> Result<(Algorithm, Option<String>), Refusal> {
    let name =
        header.get("alg").and_then(Json::as_str).ok_or_else(|| malformed("the header has no 'alg'"))?;
    let algorithm = Algorithm::parse(name).ok_or_else(|| {
        Refusal::new(Code::TokenAlgorithm, format!("algorithm {} is not allowed", shown(name)))
    })?;
    if header.get("crit").is_some() {
        return Err(malformed(
            "the header has 'crit', and no extension is understood here (RFC 7515 section 4.1.11)",
        ));
    }
    if let Some(typ) = header.get("typ") {
        check_type(typ)?;
    }
    let key_id = match header.get("kid") {
        None => None,
        Some(Json::String(id)) if id.len() <= MAX_KEY_ID => Some(id.clone().into_owned()),
        Some(_) => return Err(malformed(format!("'kid' is not a string of at most {MAX_KEY_ID} bytes"))),
    };
    Ok((algorithm, key_id))
}

fn check_type(typ: &Json<'_>) -> Result<(), Refusal> {
    let text = typ.as_str().ok_or_else(|| malformed("'typ' is not a string"))?;
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_prefix("application/").unwrap_or(&lower);
    if TYPES.contains(&plain) {
        Ok(())
    } else {
        Err(malformed(format!("'typ' is {}, which is not an access token", shown(text))))
    }
}
