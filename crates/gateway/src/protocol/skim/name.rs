//! The names of members that are looked for.

/// The names that are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Name {
    #[default]
    Other,
    Error,
    Result,
    IsError,
    Usage,
    Message,
    Input,
    Output,
    Id,
    Type,
    Choices,
    Content,
    FinishReason,
    Index,
    JsonRpc,
    Method,
    Status,
    State,
    Task,
    StatusUpdate,
}

impl Name {
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"error" => Self::Error,
            b"result" => Self::Result,
            b"isError" => Self::IsError,
            b"usage" => Self::Usage,
            b"message" => Self::Message,
            b"input_tokens" | b"prompt_tokens" => Self::Input,
            b"output_tokens" | b"completion_tokens" => Self::Output,
            b"id" => Self::Id,
            b"type" => Self::Type,
            b"choices" => Self::Choices,
            b"content" => Self::Content,
            b"finish_reason" => Self::FinishReason,
            b"index" => Self::Index,
            b"jsonrpc" => Self::JsonRpc,
            b"method" => Self::Method,
            b"status" => Self::Status,
            b"state" => Self::State,
            b"task" => Self::Task,
            b"statusUpdate" => Self::StatusUpdate,
            _ => Self::Other,
        }
    }
}
