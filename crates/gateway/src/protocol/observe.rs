//! What the record needs of an answer, read from it as it passes: token usage, or whether it is an error.

use serde::Deserialize;

/// Tokens as the provider counted them; `None` where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: Option<u64>,
    pub output: Option<u64>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<u64>,
}

/// OpenAI: `usage`. Anthropic: `usage`, and in a stream `message.usage` first.
#[derive(Deserialize)]
struct Carrier {
    usage: Option<Counted>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    usage: Option<Counted>,
}

impl Usage {
    /// Reads the usage of a whole JSON answer, or of the data of one event. What cannot be read changes nothing.
    pub fn read(&mut self, json: &[u8]) {
        if !has_usage(json) {
            return;
        }
        let Ok(carrier) = serde_json::from_slice::<Carrier>(json) else { return };
        for counted in [carrier.message.and_then(|m| m.usage), carrier.usage].into_iter().flatten() {
            self.input = counted.input_tokens.or(self.input);
            self.output = counted.output_tokens.or(self.output);
        }
    }
}

/// Whether `json` may have a usage that is not `null`. Most chunks of a stream have none, or `null`; looking for the word is far
/// cheaper than parsing.
pub fn has_usage(json: &[u8]) -> bool {
    const NAME: &[u8] = b"\"usage\"";
    memchr::memmem::find_iter(json, NAME).any(|at| {
        let value = json.get(at + NAME.len()..).unwrap_or_default();
        !value.starts_with(b":null") && !value.starts_with(b": null")
    })
}

/// What is looked for in an answer, or in the data of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observe {
    /// Token usage, in the members of OpenAI or of Anthropic.
    Usage,
    /// Whether some JSON-RPC message is an error.
    RpcError,
}

/// What was found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    Usage(Usage),
    /// Whether some JSON-RPC message was an error.
    RpcError(bool),
}

impl From<Observe> for Observation {
    fn from(observe: Observe) -> Self {
        match observe {
            Observe::Usage => Self::Usage(Usage::default()),
            Observe::RpcError => Self::RpcError(false),
        }
    }
}

impl Observation {
    /// Looks at a line of server-sent events.
    fn read_line(&mut self, line: &[u8]) {
        if let Some(data) = line.strip_prefix(b"data:") {
            self.read(data);
        }
    }

    /// Looks at a whole answer, or at the data of one event.
    pub fn read(&mut self, json: &[u8]) {
        match self {
            Self::Usage(usage) => usage.read(json),
            Self::RpcError(error) => *error |= super::jsonrpc::is_error(json),
        }
    }
}

/// Reads an answer as it passes, whatever the chunks it comes in.
#[derive(Debug)]
pub struct Observer {
    form: Form,
    /// The line of events being read, or the document so far.
    held: Vec<u8>,
    /// The rest of what is too long is passed over.
    skipping: bool,
    found: Observation,
}

/// How an answer carries what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// In the data of server-sent events.
    Events,
    /// It is one document.
    Document,
}

impl Observer {
    /// A line longer than this is not one that carries usage.
    const MAX_LINE: usize = 256 * 1024;
    /// A document longer than this is passed on without being looked at.
    const MAX_DOCUMENT: usize = 1024 * 1024;

    pub fn events(observe: Observe) -> Self {
        Self { form: Form::Events, held: Vec::new(), skipping: false, found: observe.into() }
    }

    pub fn document(observe: Observe) -> Self {
        Self { form: Form::Document, ..Self::events(observe) }
    }

    /// What was found so far; of a document, once it has ended.
    pub fn found(&self) -> Observation {
        let mut found = self.found;
        if self.form == Form::Document {
            found.read(&self.held);
        }
        found
    }

    pub fn push(&mut self, mut chunk: &[u8]) {
        if self.form == Form::Document {
            self.extend(chunk, Self::MAX_DOCUMENT);
            return;
        }
        // Lines end in CR, LF or both; the empty line between the two says nothing.
        while let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) {
            let (head, rest) = chunk.split_at(end);
            self.line(head);
            chunk = rest.get(1..).unwrap_or_default();
        }
        self.extend(chunk, Self::MAX_LINE);
    }

    /// The end of a line. Most lines come whole, and are read where they are.
    fn line(&mut self, end: &[u8]) {
        if self.held.is_empty() && !self.skipping {
            if end.len() <= Self::MAX_LINE {
                self.found.read_line(end);
            }
            return;
        }
        self.extend(end, Self::MAX_LINE);
        self.found.read_line(&self.held);
        self.held.clear();
        self.skipping = false;
    }

    fn extend(&mut self, bytes: &[u8], limit: usize) {
        if self.skipping {
            return;
        }
        if self.held.len() + bytes.len() > limit {
            self.held.clear();
            self.skipping = true;
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11,\"total_tokens\":18}}\n\ndata: [DONE]\n\n";
    const ANTHROPIC: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\r\n\r\n\
        event: message_delta\r\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":11}}\r\n\r\n";

    #[test]
    fn usage_is_found_however_the_stream_is_cut() {
        let expected = Usage { input: Some(7), output: Some(11) };
        for text in [OPENAI, ANTHROPIC] {
            for size in 1..text.len() {
                let mut reader = Observer::events(Observe::Usage);
                text.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk));
                assert_eq!(reader.found(), Observation::Usage(expected), "chunks of {size}");
            }
        }
    }

    #[test]
    fn a_json_answer_and_an_endless_line() {
        let mut usage = Usage::default();
        usage.read(br#"{"id":"x","usage":{"prompt_tokens":3,"completion_tokens":4}}"#);
        assert_eq!(usage, Usage { input: Some(3), output: Some(4) });
        usage.read(br#"{"usage":"#);
        assert_eq!(usage.input, Some(3));
        let mut reader = Observer::events(Observe::Usage);
        for _ in 0..1024 {
            reader.push(&[b'x'; 1024]);
        }
        assert!(reader.held.len() <= Observer::MAX_LINE);
        reader.push(b"\n");
        reader.push(OPENAI.as_bytes());
        assert_eq!(reader.found(), Observation::Usage(Usage { input: Some(7), output: Some(11) }));
    }
    #[test]
    fn a_document_is_read_once_it_has_ended_and_not_beyond_a_limit() {
        let answer =
            format!(r#"{{"x":"{}","usage":{{"prompt_tokens":3}}}}"#, "\n".repeat(300_000).escape_default());
        let mut reader = Observer::document(Observe::Usage);
        answer.as_bytes().chunks(1000).for_each(|chunk| reader.push(chunk));
        assert_eq!(reader.found(), Observation::Usage(Usage { input: Some(3), output: None }));
        let mut reader = Observer::document(Observe::RpcError);
        reader.push(br#"{"error":{"code":1,"message":"x"}}"#);
        assert_eq!(reader.found(), Observation::RpcError(true));
        (0..2000).for_each(|_| reader.push(&[b'x'; 1000]));
        assert!(reader.held.is_empty());
        assert_eq!(reader.found(), Observation::RpcError(false));
    }
}
