//! What wrap itself answers: an error of JSON-RPC, with the status that HTTP has for it.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

/// JSON-RPC: the message is no request.
pub(crate) const INVALID: i64 = -32600;
/// JSON-RPC: nobody serves the method.
pub(crate) const NO_METHOD: i64 = -32601;
/// MCP 2026-07-28: headers and body say two things.
pub(crate) const MISMATCH: i64 = -32020;
/// What SDKs answer where the transport is at fault.
pub(crate) const TRANSPORT: i64 = -32000;

/// Why something is not done, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    code: i64,
    message: String,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    /// The server's process is at fault.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, TRANSPORT, message)
    }

    /// The message of JSON-RPC, for the request of this id as it is written.
    pub(crate) fn answer(&self, id: Option<&str>) -> Bytes {
        let error = json!({"code": self.code, "message": self.message});
        format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.unwrap_or("null")).into()
    }
}
