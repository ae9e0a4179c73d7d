//! What one text of an answer has to tell, from a glance at the words in it. Most chunks of a stream have nothing to count; looking
//! for all words at once is far cheaper than reading, and than looking for one after another.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use memchr::memmem;

/// What a glance tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// It has nothing that is looked for.
    Nothing,
    /// It may be the answer, or the end of one, and has nothing else.
    Answers,
    /// It may have something to count or an error, or has escapes, in which any name may be written: it has to be read.
    Tells,
}

/// A word, and what a text that has it is.
struct Word {
    word: &'static str,
    is: Glance,
    /// What may stand behind it so that it tells nothing.
    unless: &'static [&'static [u8]],
}

/// A member whose value `null` is the same as none.
const fn member(word: &'static str, is: Glance) -> Word {
    Word { word, is, unless: &[b":null", b": null"] }
}

const fn word(word: &'static str, is: Glance) -> Word {
    Word { word, is, unless: &[] }
}

const ESCAPE: Word = word("\\u", Glance::Tells);
const USAGE: Word = member("\"usage\"", Glance::Tells);
const USAGE_OF_GEMINI: Word = member("\"usageMetadata\"", Glance::Tells);
/// It may be about another choice than the first. Most streams have one.
const LATER: Word = Word { word: "\"index\"", is: Glance::Answers, unless: &[b":0", b": 0"] };
/// `rror"` is the end of `error` and of `isError`.
const ERROR: Word = word("rror\"", Glance::Tells);
const RESULT: Word = word("result\"", Glance::Answers);

static MODEL: LazyLock<Words> = LazyLock::new(|| {
    Words::of(
        &const {
            [
                USAGE,
                USAGE_OF_GEMINI,
                member("\"error\"", Glance::Tells),
                ESCAPE,
                member("\"finish_reason\"", Glance::Answers),
                member("\"finishReason\"", Glance::Answers),
                member("\"stopReason\"", Glance::Answers),
                word("promptFeedback", Glance::Answers),
                word("message_stop", Glance::Answers),
                word("response.completed", Glance::Answers),
                word("response.incomplete", Glance::Answers),
                word("response.failed", Glance::Tells),
                LATER,
            ]
        },
    )
});

static RPC: LazyLock<Words> = LazyLock::new(|| Words::of(&const { [ERROR, ESCAPE, RESULT] }));

/// The states of a task that failed or was rejected end so, in 0.3 and in 1.0.
static AGENT: LazyLock<Words> = LazyLock::new(|| {
    Words::of(
        &const {
            [
                ERROR,
                ESCAPE,
                RESULT,
                word("ailed\"", Glance::Tells),
                word("ejected\"", Glance::Tells),
                word("_FAILED\"", Glance::Tells),
                word("_REJECTED\"", Glance::Tells),
            ]
        },
    )
});

static COUNTED: LazyLock<Words> = LazyLock::new(|| Words::of(&const { [USAGE] }));

/// A model's message, in the members of OpenAI, of Anthropic or of Gemini.
pub fn model(json: &[u8]) -> Glance {
    MODEL.glance(json)
}

/// A message of JSON-RPC.
pub fn rpc(json: &[u8]) -> Glance {
    RPC.glance(json)
}

/// A message of JSON-RPC about what an agent was asked to do.
pub fn agent(json: &[u8]) -> Glance {
    AGENT.glance(json)
}

/// Whether `json` may have a usage that is not `null`, where no name in it is escaped.
pub fn has_usage(json: &[u8]) -> bool {
    COUNTED.glance(json) == Glance::Tells
}

/// Whether an event of a model's stream has something of its answer: a text, a thought or a call of a tool. The first event of many servers has a
/// role alone. It is asked until it is so, and so of few.
pub fn has_token(json: &[u8]) -> bool {
    const EMPTY: [&[u8]; 6] = [
        b"\"content\":\"\"",
        b"\"content\": \"\"",
        b"\"content\":null",
        b"\"content\": null",
        b"\"text\":\"\"",
        b"\"text\": \"\"",
    ];
    let has = |word: &[u8]| memmem::find(json, word).is_some();
    let has_choice = || has(b"\"choices\"") && !has(b"\"choices\":[]") && !has(b"\"choices\": []");
    has(b"content_block_delta")
        || has(b"\"candidates\"") && has(b"\"parts\"")
        || has(b"response.output_text.delta")
        || has(b"\"contentBlockIndex\"") && has(b"\"delta\"")
        || has_choice() && (has(b"\"tool_calls\"") || has(b"\"reasoning") || !EMPTY.into_iter().any(has))
}

/// Words that are looked for together. Preparing the search costs as much as it does, so it is done once.
struct Words {
    words: &'static [Word],
    /// `None` on a processor that cannot look for several at once: then everything is read.
    searcher: Option<Searcher>,
}

impl Words {
    fn of(words: &'static [Word]) -> Self {
        Self { words, searcher: Searcher::new(words.iter().map(|word| word.word)) }
    }

    fn glance(&self, json: &[u8]) -> Glance {
        let Some(searcher) = &self.searcher else { return Glance::Tells };
        let mut glance = Glance::Nothing;
        for found in searcher.find_iter(json) {
            let value = json.get(found.end()..).unwrap_or_default();
            match self.words.get(found.pattern().as_usize()) {
                Some(word) if word.unless.iter().any(|tells_nothing| value.starts_with(tells_nothing)) => {}
                Some(Word { is: Glance::Tells, .. }) | None => return Glance::Tells,
                Some(word) => glance = word.is,
            }
        }
        glance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_something_of_the_answer() {
        for (text, expected) in [
            (r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant","content": null}}]}"#, false),
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false),
            (r#"{"choices":[{"delta":{"content":"x"}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"id":"a"}]}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":null,"reasoning_content":"x"}}]}"#, true),
            (r#"{"choices":[{"index":0,"text":"","logprobs":null}]}"#, false),
            (r#"{"choices":[{"index":0,"text":"x"}]}"#, true),
            (r#"{"type":"message_start","message":{"content":[]}}"#, false),
            (r#"{"type":"ping"}"#, false),
            (r#"{"type":"content_block_start","index":0}"#, false),
            (r#"{"type":"content_block_delta","delta":{"text":"x"}}"#, true),
            (r#"{"contentBlockIndex":0,"delta":{"text":"x"}}"#, true),
            (r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"x"}}}"#, false),
        ] {
            assert_eq!(has_token(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_glance_tells_what_has_to_be_read() {
        for (text, of_model, of_rpc) in [
            (r#"{"choices":[{"delta":{"content":"x"}}]}"#, Glance::Nothing, Glance::Nothing),
            (r#"{"choices":[{"finish_reason":null}],"usage":null}"#, Glance::Nothing, Glance::Nothing),
            (
                r#"{"choices":[{"finish_reason": null}],"usage": null,"error": null}"#,
                Glance::Nothing,
                Glance::Tells,
            ),
            (r#"{"choices":[{"finish_reason":"stop"}],"usage":null}"#, Glance::Answers, Glance::Nothing),
            (
                r#"{"usage":null,"choices":[{"finish_reason":"stop"}],"usage":{}}"#,
                Glance::Tells,
                Glance::Nothing,
            ),
            (r#"{"type":"message_stop"}"#, Glance::Answers, Glance::Nothing),
            (r#"{"stopReason":"end_turn"}"#, Glance::Answers, Glance::Nothing),
            (r#"{"contentBlockIndex":1,"delta":{"text":"x"}}"#, Glance::Nothing, Glance::Nothing),
            (r#"{"choices":[{"index":0,"delta":{}}]}"#, Glance::Nothing, Glance::Nothing),
            (r#"{"choices":[{"index": 1,"delta":{}}]}"#, Glance::Answers, Glance::Nothing),
            (r#"{"error":{}}"#, Glance::Tells, Glance::Tells),
            (r#"{"finish_reason":"stop","\u0065rror":{}}"#, Glance::Tells, Glance::Tells),
            (r#"{"result":{"isError":true}}"#, Glance::Nothing, Glance::Tells),
            (r#"{"result":{}}"#, Glance::Nothing, Glance::Answers),
            ("{}", Glance::Nothing, Glance::Nothing),
            ("", Glance::Nothing, Glance::Nothing),
        ] {
            // Short texts are looked through in another way than long ones.
            for pad in [0, 1, 15, 16, 31, 64, 1_000] {
                let text = format!("{}{text}{}", " ".repeat(pad), "x".repeat(pad));
                assert_eq!((model(text.as_bytes()), rpc(text.as_bytes())), (of_model, of_rpc), "{text}");
            }
        }
        for state in ["failed", "rejected", "TASK_STATE_FAILED", "TASK_STATE_REJECTED"] {
            let text = format!(r#"{{"result":{{"status":{{"state":"{state}"}}}}}}"#);
            assert_eq!((agent(text.as_bytes()), rpc(text.as_bytes())), (Glance::Tells, Glance::Answers));
        }
        assert!(has_usage(br#"{"usage":{}}"#) && !has_usage(br#"{"usage":null}"#));
    }
}
