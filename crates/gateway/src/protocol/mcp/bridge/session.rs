//! A session that the gateway has with a client where its server has none. Its id says all that is to be known of it, and is sealed to
//! the caller as any id of an upstream's (ADR 20): so any replica goes on with it, and nothing is kept (ADR 67).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vidimus_core::json::Json;

use super::super::HANDSHAKE;
use super::capabilities::Capabilities;

/// What such an id begins with: another form of it would have another.
const FORM: &str = "b1";
/// How much of a client's name, and of its version, goes on, in bytes.
const LONGEST_NAME: usize = 128;

/// What a client said of itself when it began its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// By which it is told from all others.
    pub number: String,
    /// The version that it speaks, of [`HANDSHAKE`].
    pub version: &'static str,
    pub capabilities: Capabilities,
    pub client: Client,
}

/// How a client calls itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Client {
    pub name: String,
    pub version: String,
}

impl Session {
    /// One that begins with these parameters of `initialize`.
    pub fn begun(params: Option<&Json<'_>>) -> Self {
        let text = |path: &[&str]| {
            let found = path.iter().try_fold(params?, |json, name| json.get(name));
            found.and_then(Json::as_str)
        };
        let wanted = text(&["protocolVersion"]);
        let version = HANDSHAKE.into_iter().find(|version| wanted == Some(*version)).unwrap_or(HANDSHAKE[0]);
        let short = |text: Option<&str>| {
            let text = text.unwrap_or("unknown");
            let text = text.get(..text.floor_char_boundary(LONGEST_NAME)).unwrap_or_default();
            text.chars().filter(|c| !c.is_control()).collect()
        };
        let client = Client {
            name: short(text(&["clientInfo", "name"])),
            version: short(text(&["clientInfo", "version"])),
        };
        let capabilities = Capabilities::of(params.and_then(|params| params.get("capabilities")));
        Self { number: Uuid::new_v4().simple().to_string(), version, capabilities, client }
    }

    /// Its id: shorter than the longest that is sealed.
    pub fn id(&self) -> String {
        let client = serde_json::to_vec(&self.client).unwrap_or_default();
        let (capabilities, client) = (self.capabilities.number(), URL_SAFE_NO_PAD.encode(client));
        format!("{FORM}.{}.{}.{capabilities}.{client}", self.number, self.version)
    }

    /// The session of an id; `None` for one that is none of these, such as one that a server gave out before its record said that it
    /// has no sessions.
    pub fn of(id: &str) -> Option<Self> {
        let mut parts = id.split('.');
        let mut next = || parts.next();
        if next()? != FORM {
            return None;
        }
        let number = next()?.to_owned();
        let said = next()?;
        let version = HANDSHAKE.into_iter().find(|version| *version == said)?;
        let capabilities = Capabilities::from_number(next()?.parse().ok()?)?;
        let client = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(next()?).ok()?).ok()?;
        next().is_none().then_some(Self { number, version, capabilities, client })
    }
}
