//! The data of events, read as HTML says (section 9.2.6), whatever the chunks they come in. Nothing is held.

/// What of a chunk is data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'c> {
    /// A line of data begins. Between two of one event stands a line feed.
    Line,
    /// More of the line of data that began.
    Text(&'c [u8]),
    /// The event has ended.
    End,
}

/// A stream of events being read.
#[derive(Debug, Default)]
pub struct Reader {
    line: Line,
    /// The last byte was CR: a LF after it ends the same line.
    after_cr: bool,
    /// Nothing but, perhaps, some of a byte order mark has come.
    mark: Mark,
    /// Some line was a field `id`.
    has_ids: bool,
}

/// How far the byte order mark has come that may be before all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    Before,
    Within(u8),
    Past,
}

/// The line being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So many bytes of the name `data` have come, and nothing else.
    Name(usize),
    /// So many bytes of the name `id`, at least one.
    Id(usize),
    /// What follows `data:`; whether a space may still come that is not part of it.
    Data { space: bool },
    /// A comment, or a field that is not read.
    Other,
}

impl Default for Line {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl Reader {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    const DATA: &[u8] = b"data";
    const ID: &[u8] = b"id";

    /// Whether some event had an id.
    pub fn has_ids(&self) -> bool {
        self.has_ids
    }

    pub fn push<'c>(&mut self, chunk: &'c [u8], on: &mut impl FnMut(Piece<'c>)) {
        let mut chunk = self.past_mark(chunk);
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = chunk.strip_prefix(b"\n")
            {
                chunk = rest;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) else {
                return self.part(chunk, on);
            };
            let (part, rest) = chunk.split_at(end);
            self.part(part, on);
            self.line_ended(on);
            self.after_cr = rest.first() == Some(&b'\r');
            chunk = rest.get(1..).unwrap_or_default();
        }
    }

    /// What follows the byte order mark.
    fn past_mark<'c>(&mut self, mut chunk: &'c [u8]) -> &'c [u8] {
        while self.mark != Mark::Past
            && let Some((first, rest)) = chunk.split_first()
        {
            let come = if let Mark::Within(come) = self.mark { come } else { 0 };
            if Self::MARK.get(usize::from(come)) != Some(first) {
                // Some bytes of a mark are no mark, and begin no name that is read.
                if come > 0 {
                    self.line = Line::Other;
                }
                self.mark = Mark::Past;
                return chunk;
            }
            let come = come + 1;
            self.mark = if usize::from(come) == Self::MARK.len() { Mark::Past } else { Mark::Within(come) };
            chunk = rest;
        }
        chunk
    }

    /// More of a line.
    fn part<'c>(&mut self, part: &'c [u8], on: &mut impl FnMut(Piece<'c>)) {
        let part = match self.line {
            Line::Other => return,
            Line::Data { .. } => part,
            Line::Id(come) => return self.id(come, part),
            Line::Name(0) if part.first() == Some(&b'i') => return self.id(0, part),
            Line::Name(come) => match self.name(come, part) {
                Some(value) => {
                    on(Piece::Line);
                    value
                }
                None => return,
            },
        };
        let Line::Data { space } = self.line else { return };
        if part.is_empty() {
            return;
        }
        self.line = Line::Data { space: false };
        let text = if space { part.strip_prefix(b" ").unwrap_or(part) } else { part };
        if !text.is_empty() {
            on(Piece::Text(text));
        }
    }

    /// More of what may be the name `id`.
    fn id(&mut self, come: usize, part: &[u8]) {
        let missing = Self::ID.get(come..).unwrap_or_default();
        let here = part.len().min(missing.len());
        self.line = match (part.get(..here) == missing.get(..here), part.get(here)) {
            (true, None) => Line::Id(come + here),
            (matches, next) => {
                self.has_ids |= matches && next == Some(&b':');
                Line::Other
            }
        };
    }

    /// More of a name; what follows it, where it has ended and is `data`.
    fn name<'c>(&mut self, come: usize, part: &'c [u8]) -> Option<&'c [u8]> {
        let missing = Self::DATA.get(come..).unwrap_or_default();
        let here = part.len().min(missing.len());
        if part.get(..here) != missing.get(..here) {
            self.line = Line::Other;
            return None;
        }
        let rest = part.get(here..).unwrap_or_default();
        match rest.split_first() {
            None => {
                self.line = Line::Name(come + here);
                None
            }
            Some((b':', value)) => {
                self.line = Line::Data { space: true };
                Some(value)
            }
            Some(_) => {
                self.line = Line::Other;
                None
            }
        }
    }

    fn line_ended<'c>(&mut self, on: &mut impl FnMut(Piece<'c>)) {
        match std::mem::take(&mut self.line) {
            Line::Name(0) => on(Piece::End),
            Line::Name(come) if come == Self::DATA.len() => on(Piece::Line),
            // Without a value it takes the id away.
            Line::Name(_) | Line::Id(_) | Line::Data { .. } | Line::Other => {}
        }
    }
}

#[cfg(test)]
mod tests;
