//! What the upstream answers.

/// An answer, or how there is none.
#[derive(Clone, Debug)]
pub enum Reply {
    /// As a good server of the protocol that is asked would.
    Proper,
    /// As several kinds of server would: with sessions, streams and long listings; what is left, as [`Reply::Proper`].
    Lively,
    /// Exactly these bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// A redirect to the upstream's own `/elsewhere`, which counts as another request.
    Elsewhere(u16),
    /// Nothing for this long, then the connection is closed.
    Silent(std::time::Duration),
}

impl Reply {
    /// A JSON document with status 200 and more fields (each ended by CRLF).
    pub fn json_with(fields: &str, body: &str) -> Self {
        Self::document(200, "application/json", fields, body)
    }

    /// A JSON document with status 200.
    pub fn json(body: &str) -> Self {
        Self::json_with("", body)
    }

    /// A document.
    pub fn document(status: u16, content_type: &str, fields: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} S\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n{fields}\r\n"
        );
        Self::Raw([head.as_bytes(), body.as_bytes()].concat())
    }

    /// An event stream: `events` as they stand, then its end.
    pub fn events(events: &str) -> Self {
        Self::document(200, "text/event-stream", "", events)
    }

    /// One event with this data.
    pub fn event(data: &str) -> Self {
        Self::events(&format!("data: {data}\n\n"))
    }
}
