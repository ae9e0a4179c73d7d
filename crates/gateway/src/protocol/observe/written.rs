//! How much a model has written in a stream, where nobody counted its tokens: the texts in the data of its events, and not what they stand in.

/// So many bytes of text are one token, by the estimate.
const BYTES: u64 = 4;
/// No text that people or programs write has more for each of its tokens.
const MOST_BYTES: u64 = 8;

/// The longest string that is looked at as a name or a type, in bytes.
const LONGEST: usize = 24;

/// A string that ends within so many bytes is looked through byte by byte: that is less than what it takes to begin to search.
const SHORT: usize = 32;

/// What was written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Events that had a text: each has a token at least.
    pieces: u64,
    /// Of all texts, in bytes.
    bytes: u64,
}

impl Written {
    /// How many tokens that may be.
    pub const fn tokens(self) -> u64 {
        let estimated = self.bytes.div_ceil(BYTES);
        if self.pieces > estimated { self.pieces } else { estimated }
    }

    /// How many it is at least.
    pub const fn at_least(self) -> u64 {
        let estimated = self.bytes / MOST_BYTES;
        if self.pieces > estimated { self.pieces } else { estimated }
    }
}

/// Members that have a text of the answer, a thought, or the arguments of a tool, in the events of any API. Some servers say one text by two of them.
const TEXTS: [&[u8]; 9] = [
    b"content",
    b"text",
    b"reasoning_content",
    b"reasoning",
    b"thinking",
    b"arguments",
    b"partial_json",
    b"input",
    b"refusal",
];
/// The same of OpenAI's responses, whose later events say again what was said.
const DELTA: usize = TEXTS.len();
/// Whose event it is.
const TYPE: usize = DELTA + 1;
/// What such a type begins with.
const OF_RESPONSES: &[u8] = b"response.";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    /// A string has ended, which is a name if a colon follows.
    Ended,
    /// The value of a member begins, which is looked at, by its place in [`TEXTS`] and behind them.
    Named(usize),
    /// In a string.
    String { of: Option<usize>, escaped: bool },
}

/// Reads the data of events, whatever the chunks that it comes in.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    state: State,
    /// How the string begins that is read or has ended.
    word: Vec<u8>,
    /// Of the event: by the member that has them.
    bytes: [u64; DELTA + 1],
    is_of_responses: bool,
    /// Of an escape, that are still to come.
    digits: usize,
}

impl Reader {
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first().copied() {
            let taken = match self.state {
                State::Between => {
                    match position(bytes, |byte| byte == b'"', |rest| memchr::memchr(b'"', rest)) {
                        None => bytes.len(),
                        Some(at) => at + 1 + self.begun(bytes.get(at + 1..).unwrap_or_default()),
                    }
                }
                State::Ended | State::Named(_) if first.is_ascii_whitespace() => 1,
                State::Ended => {
                    self.state = after(first, &self.word);
                    1
                }
                State::Named(name) if first == b'"' => {
                    self.begin(Some(name));
                    1
                }
                State::Named(_) => {
                    self.state = State::Between;
                    0
                }
                State::String { of, escaped } => self.string(bytes, of, escaped),
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// The event has ended: what it had is added. The reader is then as new.
    pub fn ended(&mut self, written: &mut Written) {
        let [texts @ .., delta] = self.bytes;
        let bytes = if self.is_of_responses { delta } else { texts.into_iter().max().unwrap_or_default() };
        if bytes > 0 {
            written.pieces = written.pieces.saturating_add(1);
            written.bytes = written.bytes.saturating_add(bytes);
        }
        self.word.clear();
        (self.state, self.bytes) = (State::Between, [0; DELTA + 1]);
        (self.is_of_responses, self.digits) = (false, 0);
    }

    /// A string begins that may be a name. Most are there as a whole, with the byte that follows them: how many bytes are done with.
    fn begun(&mut self, bytes: &[u8]) -> usize {
        let short = bytes.get(..SHORT).unwrap_or(bytes);
        let end = short.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let whole = end.and_then(|end| bytes.split_at_checked(end));
        if let Some((word, [b'"', next, ..])) = whole
            && !next.is_ascii_whitespace()
        {
            self.state = after(*next, word);
            return word.len() + 2;
        }
        self.begin(None);
        0
    }

    fn begin(&mut self, of: Option<usize>) {
        self.word.clear();
        self.state = State::String { of, escaped: false };
    }

    /// More of a string; how many bytes of it are done with.
    fn string(&mut self, bytes: &[u8], of: Option<usize>, escaped: bool) -> usize {
        if escaped {
            // The digits behind `\u` stand for three bytes at most.
            let is_unicode = bytes.first() == Some(&b'u');
            self.digits = if is_unicode { 4 } else { 0 };
            self.count(of, if is_unicode { 3 } else { 1 });
            self.state = State::String { of, escaped: false };
            return 1;
        }
        let ends = |byte| matches!(byte, b'"' | b'\\');
        let end = position(bytes, ends, |rest| memchr::memchr2(b'"', b'\\', rest));
        let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let digits = self.digits.min(text.len());
        self.digits -= digits;
        self.count(of, text.len() - digits);
        if of.is_none_or(|of| of == TYPE) {
            let room = LONGEST.saturating_sub(self.word.len());
            self.word.extend_from_slice(text.get(..room).unwrap_or(text));
        }
        let Some(end) = end else { return bytes.len() };
        if bytes.get(end) == Some(&b'\\') {
            self.state = State::String { of, escaped: true };
        } else {
            self.is_of_responses |= of == Some(TYPE) && self.word.starts_with(OF_RESPONSES);
            self.state = if of.is_none() { State::Ended } else { State::Between };
        }
        end + 1
    }

    fn count(&mut self, of: Option<usize>, bytes: usize) {
        if let Some(counted) = of.and_then(|of| self.bytes.get_mut(of)) {
            *counted = counted.saturating_add(bytes as u64);
        }
    }
}

/// What comes after a string, by the byte that follows it: the value of a member, where that is a colon and the string is one of the names.
fn after(next: u8, word: &[u8]) -> State {
    let named = || match word {
        b"delta" => Some(DELTA),
        b"type" => Some(TYPE),
        word => TEXTS.iter().position(|text| *text == word),
    };
    let name = if next == b':' { named() } else { None };
    name.map_or(State::Between, State::Named)
}

/// Where the first byte is that is looked for: by `is` among the first, and by `search` behind them.
fn position(bytes: &[u8], is: impl Fn(u8) -> bool, search: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let (first, rest) = bytes.split_at(bytes.len().min(SHORT));
    first.iter().position(|byte| is(*byte)).or_else(|| Some(first.len() + search(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_as_long_as_its_texts() {
        for (event, bytes) in [
            (r#"{"id":"chatcmpl-123456789","choices":[{"index":0,"delta":{"content":"abc"}}]}"#, 3),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, 0),
            (r#"{"choices":[{"delta":{"content": "a"}},{"delta":{"content" :"bc"}}]}"#, 3),
            (r#"{"choices":[{"delta":{"content":null,"reasoning_content":"abcd"}}]}"#, 4),
            // One text by two names.
            (r#"{"choices":[{"delta":{"reasoning":"abcd","reasoning_details":[{"text":"abcd"}]}}]}"#, 4),
            (r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{\"a\":"}}]}}]}"#, 5),
            (r#"{"choices":[{"delta":{"content":"\u4e2d\u6587"}}]}"#, 6),
            (r#"{"choices":[{"delta":{"content":"a\\\"\n"}}]}"#, 4),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"abc"}}"#, 3),
            (r#"{"type":"content_block_delta","delta":{"partial_json":"{\"a"}}"#, 3),
            (r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"ab"}}}"#, 2),
            (r#"{"candidates":[{"content":{"parts":[{"text":"ab"},{"text":"c"}]}}]}"#, 3),
            (r#"{"type":"response.output_text.delta","delta":"abc"}"#, 3),
            (r#"{"delta":"abc","type":"response.output_text.delta"}"#, 3),
            (r#"{"type":"response.output_text.done","text":"abc"}"#, 0),
            (r#"{"type":"response.completed","response":{"output":[{"content":[{"text":"abc"}]}]}}"#, 0),
            (r#"["content","content"]"#, 0),
            (r#"{"usage":{"content":7}}"#, 0),
            ("[DONE]", 0),
        ] {
            for size in 1..=event.len() {
                let (mut reader, mut written) = (Reader::default(), Written::default());
                event.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk));
                reader.ended(&mut written);
                let expected = Written { pieces: u64::from(bytes > 0), bytes };
                assert_eq!(written, expected, "chunks of {size}: {event}");
            }
        }
    }

    #[test]
    fn tokens_are_estimated_from_both() {
        for (pieces, bytes, tokens, at_least) in
            [(0, 0, 0, 0), (1, 1, 1, 1), (50, 200, 50, 50), (1, 4001, 1001, 500), (50, 60, 50, 50)]
        {
            let written = Written { pieces, bytes };
            assert_eq!((written.tokens(), written.at_least()), (tokens, at_least), "{written:?}");
        }
    }
}
