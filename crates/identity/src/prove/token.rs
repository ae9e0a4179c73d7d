//! A JWT in compact form (RFC 7515 section 3.1), taken apart strictly and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vidimus_core::json::{Json, JsonError};
use vidimus_core::refusal::{Code, Refusal};

use super::keys::Algorithm;
use crate::issue::mint::TYPE;

/// The maximum length of a token, in bytes.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// The maximum length of a `kid`, in bytes.
const MAX_KEY_ID: usize = 256;
/// The values of `typ` that an issuer's access token or ID token may have, compared without case and without `application/`
/// (RFC 8725 section 3.11). Others (`dpop+jwt`, `logout+jwt`, `secevent+jwt`) mean other things.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "jose"];
/// What the header of a JWT-SVID may have (JWT-SVID section 2), and of `typ` the values that it may have (section 2.3), as they are
/// written there.
const SVID_HEADER: [&str; 3] = ["alg", "kid", "typ"];
const SVID_TYPES: [&str; 2] = ["JWT", "JOSE"];

/// What a token is said to be, by which of its claims are there. Each kind has a header of its own, so that none is taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of an issuer, elsewhere or built in.
    Issued,
    /// One that our own mint made for a hop.
    Hop,
    /// A JWT-SVID.
    Svid,
}

/// The parts of a token.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// `typ`.
    typ: Option<Box<str>>,
    /// The first member of the header that no JWT-SVID has.
    beyond_svid: Option<Box<str>>,
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
        let Header { algorithm, key_id, typ, beyond_svid } = Header::read(&parse_json(&header, "header")?)?;
        Ok(Self {
            algorithm,
            key_id,
            typ,
            beyond_svid,
            message: message.as_bytes(),
            signature: decode(signature, "signature")?,
            payload: decode(payload, "payload")?,
        })
    }

    /// Holds the header against what a token of this kind may have in it, beyond what holds of every token.
    ///
    /// # Errors
    /// `TokenMalformed`.
    pub(crate) fn check_kind(&self, kind: Kind) -> Result<(), Refusal> {
        match (kind, self.typ.as_deref(), self.beyond_svid.as_deref()) {
            (Kind::Issued, None, _) => Ok(()),
            (Kind::Issued, Some(typ), _) => check_type(typ),
            // We write no other.
            (Kind::Hop, Some(TYPE), _) => Ok(()),
            (Kind::Hop, ..) => Err(malformed(format!("'typ' is not {TYPE}, which that of a hop's token is"))),
            (Kind::Svid, _, Some(other)) => {
                let message =
                    format!("the header of a JWT-SVID has no {} (JWT-SVID section 2)", shown(other));
                Err(malformed(message))
            }
            (Kind::Svid, Some(typ), _) if !SVID_TYPES.contains(&typ) => {
                let reason = "but that of a JWT-SVID is JWT or JOSE (JWT-SVID section 2.3)";
                Err(malformed(format!("'typ' is {}, {reason}", shown(typ))))
            }
            (Kind::Svid, ..) => Ok(()),
        }
    }
}

/// Canonical base64url without padding: no second spelling of the same token exists.
pub(crate) fn decode(part: &str, name: &str) -> Result<Vec<u8>, Refusal> {
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

/// What a header says. Keys inside or behind it (`jwk`, `jku`, `x5c`, `x5u`) are never looked at (RFC 8725 section 3.10).
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    typ: Option<Box<str>>,
    beyond_svid: Option<Box<str>>,
}

impl Header {
    pub(crate) fn read(header: &Json<'_>) -> Result<Self, Refusal> {
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
        // What is signed would be read in another way.
        if header.get("b64").is_some() {
            return Err(malformed("the header has 'b64', which no JWT has (RFC 7797 section 7)"));
        }
        let typ = match header.get("typ") {
            None => None,
            Some(typ) => Some(typ.as_str().ok_or_else(|| malformed("'typ' is not a string"))?.into()),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::String(id)) if id.len() <= MAX_KEY_ID => Some(id.clone().into_owned()),
            Some(_) => {
                return Err(malformed(format!("'kid' is not a string of at most {MAX_KEY_ID} bytes")));
            }
        };
        let mut members = header.as_object().unwrap_or_default().iter();
        let beyond_svid = members.find(|(name, _)| !SVID_HEADER.contains(&&**name));
        let beyond_svid = beyond_svid.map(|(name, _)| Box::from(&**name));
        Ok(Self { algorithm, key_id, typ, beyond_svid })
    }
}

fn check_type(text: &str) -> Result<(), Refusal> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_prefix("application/").unwrap_or(&lower);
    if TYPES.contains(&plain) {
        Ok(())
    } else {
        Err(malformed(format!("'typ' is {}, which is not an access token", shown(text))))
    }
}
