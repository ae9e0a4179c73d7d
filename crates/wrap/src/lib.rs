//! A server of MCP that speaks stdio, served as streamable HTTP: `vidimus wrap`.
//!
//! It joins two transports and decides nothing: what a message says passes as it was written, also methods and members that did not
//! exist when this was. It reads which request an answer is of, and little else (`message.rs`). Who may call is the gateway's business,
//! which stands before it.
//!
//! A session (2025-11-25 and before) has a process of its own, or all share one. Requests without a session (2026-07-28) are answered
//! by one process, if the server is of that era. `endpoint.rs` is the place to begin reading.

mod body;
mod channel;
mod door;
mod endpoint;
mod fault;
mod init;
mod line;
mod message;
mod process;
mod routes;
mod serve;
mod session;
mod standard_error;
mod wrapped;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use init::run_as_init;
pub use process::Program;
pub use serve::{Listener, serve};

/// What is served, where and how much of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server.
    pub program: Program,
    /// Where it is served.
    pub at: At,
    /// Names besides addresses and `localhost` that requests may have in `Host`, without a port.
    pub hosts: Vec<String>,
    /// Origins of pages that may call, as browsers send them; all others are refused.
    pub origins: Vec<String>,
    /// Whether all sessions share one process.
    pub shared: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Where a server is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// A socket of Unix, for who runs as the same user.
    Socket(PathBuf),
}

/// Bounds of what one server takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// Length of one message, in bytes, either way.
    pub message: usize,
    /// A session that nobody uses, or listens to, for so long ends.
    pub idle: Duration,
}

/// The parser of foreign bytes, for its fuzz target (`cargo fuzz` sets `--cfg fuzzing`).
#[cfg(fuzzing)]
pub mod fuzzing {
    use crate::message::Message;

    /// The line that a message becomes, and the one with another id; `None` for what is no message.
    pub fn lines(bytes: &[u8], id: &str) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let message = Message::read(bytes).ok()?;
        let renamed = message.id.as_ref().map(|own| message.line(&[(own, id)]));
        Some((message.line(&[]), renamed))
    }
}
