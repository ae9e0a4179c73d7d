//! What a probe is.

use crate::expect::Expect;
use crate::http2::Part;
use crate::reply::Reply;

/// Where the gateway is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The address that callers use.
    Listen,
    /// The address of health, metrics and status.
    Admin,
}

/// The protocol that a probe speaks, or begins to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Mcp,
    A2a,
    Llm,
}

impl Protocol {
    /// As it stands in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mcp => "mcp",
            Self::A2a => "a2a",
            Self::Llm => "llm",
        }
    }
}

/// One HTTP/1.1 request, byte for byte. In every part `{{name}}` stands for what [`crate::stage::Stage::value`] has by that name: a
/// token, a session, a task of somebody.
#[derive(Clone, Debug)]
pub enum Request {
    /// Head and body, with a right `Content-Length` unless the head has its own framing.
    Message(Message),
    /// Exactly these bytes.
    Raw(Vec<u8>),
    /// A connection of HTTP/2.
    Streams(Vec<Part>),
}

/// A request that is HTTP, whatever it says.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its method.
    pub method: String,
    /// Its request target.
    pub target: String,
    /// Its fields in order, values as bytes.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Its body; none, and no framing, where it is `None`.
    pub body: Option<Vec<u8>>,
}

impl Message {
    /// With `Host` and `Connection: close`.
    pub fn new(method: &str, target: &str) -> Self {
        let fields =
            vec![("Host".to_owned(), b"{{host}}".to_vec()), ("Connection".to_owned(), b"close".to_vec())];
        Self { method: method.to_owned(), target: target.to_owned(), fields, body: None }
    }

    /// With one more field, after those it has.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Without any field of that name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(had, _)| !had.eq_ignore_ascii_case(name));
        self
    }

    /// By the bearer token of `who`, a name that the stage knows, instead of the one it has.
    #[must_use]
    pub fn by(self, who: &str) -> Self {
        self.without("Authorization").with("Authorization", format!("Bearer {{{{{who}}}}}"))
    }

    /// At another target.
    #[must_use]
    pub fn at(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// With another method.
    #[must_use]
    pub fn using(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Without a body.
    #[must_use]
    pub fn bodiless(mut self) -> Self {
        self.body = None;
        self
    }
}

/// How the request is put on the wire.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Connections that are opened before it and kept until it is answered.
    pub crowd: Option<Crowd>,
    /// Sent at once when empty; otherwise it is cut at these offsets from its end, with a pause at each.
    pub cuts: Vec<usize>,
    /// What is sent behind it on the same connection, without waiting.
    pub behind: Vec<u8>,
}

/// Many that hold on to something.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// How many connections.
    pub count: usize,
    /// Where to.
    pub door: Door,
    /// What each sends; nothing more comes after it, and nothing is read.
    pub sends: Request,
}

/// One attack.
#[derive(Clone, Debug)]
pub struct Probe {
    /// `area/what`, unique.
    pub name: String,
    /// What somebody hopes for who tries this.
    pub tries: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub door: Door,
    /// What is sent.
    pub request: Request,
    /// How.
    pub manner: Manner,
    /// What the upstream answers, should it be asked.
    pub reply: Reply,
    /// What must come of it.
    pub expect: Expect,
}

impl Probe {
    /// A probe that is to be refused without effect, by a code of its own or another's.
    pub fn new(
        name: impl Into<String>,
        tries: impl Into<String>,
        protocol: Protocol,
        request: Message,
    ) -> Self {
        Self {
            name: name.into(),
            tries: tries.into(),
            protocol,
            door: Door::Listen,
            request: Request::Message(request),
            manner: Manner::default(),
            reply: Reply::Proper,
            expect: Expect::refused(&[]),
        }
    }

    /// With another expectation.
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// With another answer of the upstream.
    #[must_use]
    pub fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    /// With exactly these bytes instead of the message.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.request = Request::Raw(bytes.as_ref().to_vec());
        self
    }

    /// Put on the wire in another manner.
    #[must_use]
    pub fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// At the admin address.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.door = Door::Admin;
        self
    }
}
