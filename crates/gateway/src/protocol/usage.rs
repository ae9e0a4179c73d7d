//! Token usage, read from a model's answer as it passes: JSON bodies and server-sent events of both dialects.

use serde::Deserialize;

/// Whose wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

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
        // Most chunks of a stream have none; looking for the word is far cheaper than parsing.
        if memchr::memmem::find(json, b"\"usage\"").is_none() {
            return;
        }
        let Ok(carrier) = serde_json::from_slice::<Carrier>(json) else { return };
        for counted in [carrier.message.and_then(|m| m.usage), carrier.usage].into_iter().flatten() {
            self.input = counted.input_tokens.or(self.input);
            self.output = counted.output_tokens.or(self.output);
        }
    }
}

/// What is looked for in the data of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    Usage(Usage),
    /// Whether some JSON-RPC message was an error.
    Rpc {
        error: bool,
    },
}

/// Reads a stream of server-sent events as it passes, whatever the chunks it comes in.
#[derive(Debug)]
pub struct EventReader {
    line: Vec<u8>,
    /// The rest of an over-long line is passed over.
    skipping: bool,
    watch: Watch,
}

impl EventReader {
    /// A line longer than this is not one that carries usage.
    const LONGEST_LINE: usize = 256 * 1024;

    pub fn new(watch: Watch) -> Self {
        Self { line: Vec::new(), skipping: false, watch }
    }

    /// What was found so far.
    pub fn found(&self) -> Watch {
        self.watch
    }

    pub fn push(&mut self, mut chunk: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (head, rest) = chunk.split_at(end);
            self.extend(head);
            self.end_of_line();
            chunk = rest.get(1..).unwrap_or_default();
        }
        self.extend(chunk);
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + bytes.len() > Self::LONGEST_LINE {
            self.line.clear();
            self.skipping = true;
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_of_line(&mut self) {
        if let Some(data) = self.line.strip_prefix(b"data:") {
            match &mut self.watch {
                Watch::Usage(usage) => usage.read(data),
                Watch::Rpc { error } => *error |= super::jsonrpc::is_error(data),
            }
        }
        self.line.clear();
        self.skipping = false;
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
                let mut reader = EventReader::new(Watch::Usage(Usage::default()));
                text.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk));
                assert_eq!(reader.found(), Watch::Usage(expected), "chunks of {size}");
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
        let mut reader = EventReader::new(Watch::Usage(Usage::default()));
        for _ in 0..1024 {
            reader.push(&[b'x'; 1024]);
        }
        assert!(reader.line.len() <= EventReader::LONGEST_LINE);
        reader.push(b"\n");
        reader.push(OPENAI.as_bytes());
        assert_eq!(reader.found(), Watch::Usage(Usage { input: Some(7), output: Some(11) }));
    }
}
