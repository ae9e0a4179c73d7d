//! The names of members that are looked for.

use crate::protocol::is_same_member;

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
    /// All tokens of a question.
    Question,
    /// Those of them that the provider neither read from what it keeps nor keeps from now on, where it tells them apart (Anthropic, Bedrock). Of
    /// OpenAI's responses these are all.
    Fresh,
    /// The others: some of neither each other nor [`Name::Fresh`].
    KeptRead,
    KeptWritten,
    Answer,
    /// Some of [`Name::Question`], or of OpenAI's [`Name::Fresh`], that the provider read from what it keeps; and of [`Name::Answer`], that the model
    /// thought. OpenAI has them in objects of their own.
    UsageDetails,
    Cached,
    Reasoning,
    Id,
    Type,
    Choices,
    /// Of Gemini's, which may stand in a list of answers: its other form of a stream.
    Candidates,
    Feedback,
    BlockReason,
    /// What a model answers that is no text: an embedding, a count, a response of OpenAI's.
    Made,
    /// Tokens that are told apart from those of [`Name::Question`] and of [`Name::Answer`], and are some of neither (Gemini).
    QuestionBeside,
    AnswerBeside,
    Content,
    FinishReason,
    /// The same of Anthropic's, in a document, or in its streams' `delta`.
    WhyStopped,
    Delta,
    /// The model that answers, and the answer's id where that is not [`Name::Id`].
    Model,
    AnswerId,
    /// Why a model of Bedrock stopped, which it says once.
    StopReason,
    Index,
    JsonRpc,
    Method,
    Status,
    State,
    Task,
    StatusUpdate,
    /// What an MCP server asks of its client, in a result and in an error.
    InputRequests,
    Elicitations,
    /// What some client reads for [`Name::Result`], [`Name::Error`] or the `data` of one, and is spelled otherwise.
    LikeResult,
    LikeError,
    LikeData,
}

impl Name {
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"error" => Self::Error,
            b"result" => Self::Result,
            b"isError" => Self::IsError,
            b"usage" | b"usageMetadata" => Self::Usage,
            b"message" | b"response" => Self::Message,
            b"prompt_tokens" | b"promptTokenCount" => Self::Question,
            b"input_tokens" | b"inputTokens" => Self::Fresh,
            b"cache_read_input_tokens" | b"cacheReadInputTokens" => Self::KeptRead,
            b"cache_creation_input_tokens" | b"cacheWriteInputTokens" => Self::KeptWritten,
            b"output_tokens" | b"completion_tokens" | b"candidatesTokenCount" | b"outputTokens" => {
                Self::Answer
            }
            b"prompt_tokens_details"
            | b"completion_tokens_details"
            | b"input_tokens_details"
            | b"output_tokens_details" => Self::UsageDetails,
            // OpenAI, Gemini, DeepSeek.
            b"cached_tokens" | b"cachedContentTokenCount" | b"prompt_cache_hit_tokens" => Self::Cached,
            b"reasoning_tokens" => Self::Reasoning,
            b"toolUsePromptTokenCount" => Self::QuestionBeside,
            b"thoughtsTokenCount" => Self::AnswerBeside,
            b"id" => Self::Id,
            b"type" => Self::Type,
            b"choices" => Self::Choices,
            b"candidates" => Self::Candidates,
            b"promptFeedback" => Self::Feedback,
            b"blockReason" => Self::BlockReason,
            b"data" | b"embedding" | b"embeddings" | b"output" | b"totalTokens" => Self::Made,
            b"content" => Self::Content,
            b"finish_reason" | b"finishReason" => Self::FinishReason,
            b"stopReason" => Self::StopReason,
            b"stop_reason" => Self::WhyStopped,
            b"delta" => Self::Delta,
            b"model" | b"modelVersion" => Self::Model,
            b"responseId" => Self::AnswerId,
            b"index" => Self::Index,
            b"jsonrpc" => Self::JsonRpc,
            b"method" => Self::Method,
            b"status" => Self::Status,
            b"state" => Self::State,
            b"task" => Self::Task,
            b"statusUpdate" => Self::StatusUpdate,
            _ => std::str::from_utf8(name).map_or(Self::Other, Self::of_question),
        }
    }

    /// Of those by which a server asks something, whatever some client reads for one.
    fn of_question(name: &str) -> Self {
        const QUESTIONS: [(&str, Name); 6] = [
            ("method", Name::Method),
            ("inputRequests", Name::InputRequests),
            ("elicitations", Name::Elicitations),
            ("result", Name::LikeResult),
            ("error", Name::LikeError),
            ("data", Name::LikeData),
        ];
        // What is shorter is none of them, and costs nothing.
        let known =
            QUESTIONS.iter().find(|(known, _)| name.len() >= known.len() && is_same_member(name, known));
        known.map_or(Self::Other, |(_, found)| *found)
    }
}
