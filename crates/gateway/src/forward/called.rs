//! A call of a tool that is answered for here, whatever it is of.

use http::Response;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use vidimus_core::refusal::Refusal;

use super::body::Body;
use super::job::{Asked, INVALID_PARAMS, Reply, Understood, is_progress_token, told, understood};
use crate::runner::{News, Output};

/// What a message comes to.
#[derive(Debug)]
pub(super) enum Heard {
    /// This is its answer.
    Answered(Response<Body>),
    /// A tool is called.
    Called(Called),
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Called {
    /// The tool's name.
    pub(super) name: String,
    /// Its arguments: JSON.
    pub(super) arguments: Box<str>,
    /// What the client calls its progress, as JSON text, where it wants to know of it.
    progress: Option<Box<str>>,
    reply: Reply,
}

/// Hears one permitted message to a server without sessions, that has nothing but `tools`.
///
/// # Errors
/// As of [`understood`].
pub(super) fn heard(asked: Asked<'_>, tools: impl FnOnce() -> Vec<Value>) -> Result<Heard, Refusal> {
    let (params, reply) = match understood(asked, tools)? {
        Understood::Answered(response) => return Ok(Heard::Answered(response)),
        Understood::Call(params, reply) => (params, reply),
    };
    let progress: Option<Box<str>> = params.progress().map(Into::into);
    if progress.as_deref().is_some_and(|token| !is_progress_token(token)) {
        return Ok(Heard::Answered(reply.no_token()));
    }
    let arguments = params.arguments.map_or("{}", RawValue::get).into();
    Ok(Heard::Called(Called { name: params.name.unwrap_or_default(), arguments, progress, reply }))
}

impl Called {
    /// Whether the client wants to know how far it is.
    pub(super) fn is_followed(&self) -> bool {
        self.progress.is_some()
    }

    /// Of a tool that has a structure, what it writes is JSON.
    pub(super) fn structured(&mut self, is_structured: bool) {
        self.reply.is_structured = is_structured;
    }

    /// There is no such tool.
    pub(super) fn unknown(&self) -> Response<Body> {
        self.reply
            .error(INVALID_PARAMS, "this server has no tool of this name; tools/list has those that it has")
    }

    /// It came to this.
    pub(super) fn output(&self, output: &Output) -> Response<Body> {
        self.reply.output(output)
    }

    /// It came to this, as MCP has it.
    pub(super) fn result(&self, result: Value) -> Response<Body> {
        self.reply.result(result, false)
    }

    /// It comes to what is told.
    ///
    /// # Errors
    /// What it failed by.
    pub(super) async fn told(self, news: mpsc::Receiver<News>) -> Result<Response<Body>, Refusal> {
        told(news, self.reply, self.progress).await
    }
}
