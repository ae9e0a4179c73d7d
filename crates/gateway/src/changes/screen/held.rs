//! Events that are held back until the texts in them that come in pieces were looked at: in their order, byte for byte but for what is redacted, and no
//! more of them than a window needs.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Range;

use serde_json::value::RawValue;
use vidimus_core::guard::{Came, Guard, Kinds, OnFinding};
use vidimus_core::obligation::REDACTED;
use vidimus_core::refusal::Refusal;

use super::cuts::Cuts;
use super::pieces::{Piece, Said, Speech};
use super::window::Window;
use super::{Screen, cannot_look, refused, unread};
use crate::changes::pointers::Pointers;
use crate::changes::unmet;
use crate::protocol::event::Parts;
use crate::protocol::members::{place, quoted, text};

/// The most texts of one answer that come in pieces.
const MOST_TEXTS: usize = 256;

/// The most that is held back of events, in bytes: of more, what came is looked at as it is, and leaves.
const MOST_HELD: usize = 1 << 20;

/// Where a model says its text once more, token by token, for who asked how probable each is: what is redacted would stand there.
const SAID_AGAIN: [&str; 6] = [
    "/choices/*/logprobs",
    "/candidates/*/logprobsResult",
    "/logprobs",
    "/part/logprobs",
    "/output/*/content/*/logprobs",
    "/response/output/*/content/*/logprobs",
];

/// The events of one answer.
#[derive(Debug)]
pub struct Held {
    screen: Screen,
    /// What does not pass of an answer of which something may be redacted.
    said_again: Pointers,
    texts: BTreeMap<String, Text>,
    events: VecDeque<Event>,
    /// What those take, in bytes, and the most that they may.
    length: usize,
    most: usize,
    /// The answer said that it has ended.
    is_over: bool,
    /// What of the last event is no piece, where nothing of it was changed: most events of a stream have the same, which is looked at once.
    frame: Option<String>,
}

/// One text that comes in pieces.
#[derive(Debug, Default)]
struct Text {
    window: Window,
    /// How many characters of it have left.
    left: u64,
    /// How many more do with what is given next.
    leaving: u64,
    /// What was found in it, by where it stands.
    cuts: Cuts,
    /// Something was found in it that has no place: what has not left is redacted, and what comes of it too.
    redacted: bool,
    /// What is redacted of it stands in some event already.
    shown: bool,
    /// Something was found in it that is only recorded.
    recorded: bool,
    /// It was said that it has ended.
    ended: bool,
}

/// An event that waits.
#[derive(Debug)]
struct Event {
    parts: Parts,
    pieces: Vec<Waiting>,
    /// Something of it was redacted.
    is_changed: bool,
}

/// A piece of a text, in an event.
#[derive(Debug)]
struct Waiting {
    text: String,
    /// Where it stands in the event's data.
    at: Range<usize>,
    /// How long the text is with it, in bytes.
    end: usize,
    /// How many characters it has.
    characters: usize,
}

impl Event {
    /// What it takes while it waits, in bytes: an event without data takes room too.
    fn length(&self) -> usize {
        let Parts { name, id, data } = &self.parts;
        let texts: usize = [name, id, data].into_iter().flatten().map(String::len).sum();
        let pieces: usize = self.pieces.iter().map(|piece| size_of::<Waiting>() + piece.text.len()).sum();
        size_of::<Self>() + texts + pieces
    }
}

impl Held {
    pub fn new(screen: Screen) -> Self {
        let redacts = screen.guards.iter().any(|(_, on_finding)| *on_finding == OnFinding::Redact);
        let mut said_again = Pointers::default();
        if redacts && screen.speech == Speech::Model {
            SAID_AGAIN.iter().for_each(|pointer| said_again.add(pointer));
        }
        let (texts, events) = (BTreeMap::new(), VecDeque::new());
        Self { screen, said_again, texts, events, length: 0, most: MOST_HELD, is_over: false, frame: None }
    }

    /// A whole answer: all of it is looked at before any of it leaves. `None` where it stays as it is.
    ///
    /// # Errors
    /// As [`Held::take`].
    pub fn document(mut self, document: &str) -> Result<Option<String>, Refusal> {
        // It is here already, and its length is limited.
        self.most = usize::MAX;
        // A stream of Gemini's may be one list, whose members come one after another.
        let is_list = self.screen.speech == Speech::Model && document.trim_start().starts_with('[');
        let each: Vec<&str> = match is_list {
            true => {
                let members: Vec<&RawValue> = serde_json::from_str(document).map_err(|_| unread())?;
                members.into_iter().map(RawValue::get).collect()
            }
            false => vec![document],
        };
        if each.iter().any(|data| !data.trim_start().starts_with(['{', '['])) {
            return Err(unread());
        }
        for data in each {
            self.take(Parts { data: Some(data.to_owned()), ..Parts::default() })?;
        }
        self.end()?;
        let events = std::mem::take(&mut self.events).into_iter().map(|event| self.redacted(event));
        let events: Vec<Event> = events.collect();
        if !events.iter().any(|event| event.is_changed) {
            return Ok(None);
        }
        let each: Vec<String> = events.into_iter().filter_map(|event| event.parts.data).collect();
        Ok(Some(if is_list { format!("[{}]", each.join(",")) } else { each.concat() }))
    }

    /// Looks at an event that has come.
    ///
    /// # Errors
    /// `change_impossible` for one in which something is found that is not to pass, and for what cannot be read.
    pub fn take(&mut self, mut parts: Parts) -> Result<(), Refusal> {
        for words in [&parts.name, &parts.id].into_iter().flatten() {
            self.screen.words(words)?;
        }
        let Some(data) = parts.data.take() else {
            return self.wait(Event { parts, pieces: Vec::new(), is_changed: false });
        };
        // What ends a stream of OpenAI's is no JSON, and neither are words that keep a connection alive.
        let is_last = data.trim() == "[DONE]";
        if is_last || !data.trim_start().starts_with(['{', '[']) {
            self.screen.words(&data)?;
            self.wait(Event {
                parts: Parts { data: Some(data), ..parts },
                pieces: Vec::new(),
                is_changed: false,
            })?;
            return if is_last { self.over() } else { Ok(()) };
        }
        let once = match self.said_again.is_empty() {
            true => None,
            false => self.said_again.redacted(&data).map_err(|_| unread())?.0,
        };
        let is_once = once.is_some();
        let data = once.unwrap_or(data);
        let (pieces, frame) = {
            let said = Said::of(self.screen.speech, &data);
            if said.misspells {
                return Err(unmet(
                    "a guard looks at the answer, and a member of it is spelled in another way",
                ));
            }
            let pointers = said.pieces.iter().map(|piece| piece.pointer.clone());
            (pointers.collect::<HashSet<String>>(), frame(&data, &said.pieces))
        };
        let changed = match frame.is_some() && frame == self.frame {
            true => None,
            false => self.values(&data, &pieces)?,
        };
        self.frame = frame.filter(|_| changed.is_none());
        let is_changed = is_once || changed.is_some();
        let data = changed.unwrap_or(data);
        // Once more, of what it has become: the pieces stand elsewhere in it.
        let said = Said::of(self.screen.speech, &data);
        let mut pieces = Vec::with_capacity(said.pieces.len());
        for piece in said.pieces {
            pieces.push(self.look(&data, piece)?);
        }
        let (ended, is_last) = (said.ended, said.is_last);
        self.wait(Event { parts: Parts { data: Some(data), ..parts }, pieces, is_changed })?;
        for text in &ended {
            self.end_of(|name| name.starts_with(text.as_str()))?;
            for (_, text) in self.texts.iter_mut().filter(|(name, _)| name.starts_with(text.as_str())) {
                text.ended = true;
            }
        }
        if is_last { self.over() } else { Ok(()) }
    }

    /// Looks at all of an event that is no piece.
    fn values(&self, data: &str, pieces: &HashSet<String>) -> Result<Option<String>, Refusal> {
        let is_piece = |pointer: &str| pieces.contains(pointer);
        // That one is the gateway's own: it was sealed.
        let is_own =
            |pointer: &str| self.screen.speech == Speech::Agent && pointer.ends_with("/nextPageToken");
        self.screen.values(data, &|pointer| is_piece(pointer) || is_own(pointer))
    }

    /// Looks at a text with one piece more.
    fn look(&mut self, data: &str, Piece { text: name, value, .. }: Piece<'_>) -> Result<Waiting, Refusal> {
        let words = text(value).ok_or_else(unread)?;
        let at = place(data, value.get()).ok_or_else(unread)?;
        if self.texts.len() >= MOST_TEXTS && !self.texts.contains_key(&name) {
            return Err(unmet(
                "a guard looks at the answer, and more texts come in pieces than can be kept apart",
            ));
        }
        let text = self.texts.entry(name.clone()).or_default();
        // What it had said has left, and would be the first half of something.
        if (self.is_over || text.ended) && !words.is_empty() {
            return Err(unmet(
                "a guard looks at the answer, and a text goes on of which it was said that it has ended",
            ));
        }
        let Text { window, left, cuts, redacted, recorded, .. } = text;
        window.push(&words, &mut |from, seen| {
            looked(&self.screen, (from, seen), *left, (&mut *cuts, &mut *redacted, &mut *recorded))
        })?;
        Ok(Waiting { at, end: text.window.come(), characters: words.chars().count(), text: name })
    }

    fn wait(&mut self, event: Event) -> Result<(), Refusal> {
        self.length = self.length.saturating_add(event.length());
        self.events.push_back(event);
        if self.length > self.most { self.end() } else { Ok(()) }
    }

    /// The answer says that it has ended.
    fn over(&mut self) -> Result<(), Refusal> {
        self.is_over = true;
        self.end()
    }

    /// All has come, as far as is known: what was not looked at is.
    ///
    /// # Errors
    /// As [`Held::take`].
    pub fn end(&mut self) -> Result<(), Refusal> {
        self.end_of(|_| true)
    }

    fn end_of(&mut self, is_of: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        for (_, text) in self.texts.iter_mut().filter(|(name, _)| is_of(name)) {
            let Text { window, left, cuts, redacted, recorded, .. } = text;
            window.end(&mut |from, seen| {
                looked(&self.screen, (from, seen), *left, (&mut *cuts, &mut *redacted, &mut *recorded))
            })?;
        }
        Ok(())
    }

    /// The events that may leave, which then have.
    pub fn leaving(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.events.front().is_some_and(|event| self.may_leave(event)) {
            let Some(event) = self.events.pop_front() else { break };
            self.length = self.length.saturating_sub(event.length());
            let event = self.redacted(event);
            out.append(&mut event.parts.write());
        }
        out
    }

    /// What was given has left.
    pub fn passed(&mut self) {
        for text in self.texts.values_mut() {
            text.left = text.left.saturating_add(std::mem::take(&mut text.leaving));
        }
    }

    fn may_leave(&self, event: &Event) -> bool {
        let is_free = |text: &Text, end| text.redacted || text.window.free() >= end;
        event
            .pieces
            .iter()
            .all(|piece| self.texts.get(&piece.text).is_none_or(|text| is_free(text, piece.end)))
    }

    /// An event as it leaves, without what was found in its texts. Of one in which that has no place the first piece that had not left says so, and the
    /// others nothing.
    fn redacted(&mut self, mut event: Event) -> Event {
        event.pieces.sort_by_key(|piece| piece.at.start);
        let data = event.parts.data.as_deref().unwrap_or_default();
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for piece in &event.pieces {
            let Some(text) = self.texts.get_mut(&piece.text) else { continue };
            // Nearly every text stays as it is, and is not read once more.
            let has_cuts = !text.cuts.is_empty();
            let json = data.get(piece.at.clone()).filter(|_| has_cuts && !text.redacted);
            let words = json.and_then(|json| serde_json::from_str::<String>(json).ok());
            // What was found in it has no place, or what it says is not known.
            if text.redacted || has_cuts && words.is_none() {
                let left = if std::mem::replace(&mut text.shown, true) { "" } else { REDACTED };
                edits.push((piece.at.clone(), left.to_owned()));
                continue;
            }
            let kept = words.and_then(|words| text.cuts.kept(&words, piece.end.saturating_sub(words.len())));
            let characters = kept.as_ref().map_or(piece.characters, |kept| kept.characters);
            text.leaving = text.leaving.saturating_add(u64::try_from(characters).unwrap_or(u64::MAX));
            edits.extend(kept.map(|kept| (piece.at.clone(), kept.said)));
        }
        if let Some(data) = event.parts.data.as_mut().filter(|_| !edits.is_empty()) {
            // Where it cannot be written, nothing of it leaves.
            *data = written(data, &edits).unwrap_or_default();
            event.is_changed = true;
        }
        event
    }
}

/// Data with texts in these places, which are in their order.
fn written(data: &str, edits: &[(Range<usize>, String)]) -> Option<String> {
    let (mut out, mut from) = (String::with_capacity(data.len()), 0);
    for (at, with) in edits {
        out.push_str(data.get(from..at.start)?);
        out.push_str(&quoted(with));
        from = at.end;
    }
    out.push_str(data.get(from..)?);
    Some(out)
}

/// What of the data of an event is no piece, with a mark for each that no JSON has. `None` where it cannot be told.
fn frame(data: &str, pieces: &[Piece<'_>]) -> Option<String> {
    let places: Option<Vec<Range<usize>>> =
        pieces.iter().map(|piece| place(data, piece.value.get())).collect();
    let mut places = places?;
    places.sort_by_key(|at| at.start);
    let (mut frame, mut from) = (String::with_capacity(data.len()), 0);
    for at in places {
        frame.push_str(data.get(from..at.start)?);
        frame.push('\0');
        from = at.end;
    }
    frame.push_str(data.get(from..)?);
    Some(frame)
}

/// What guards come to that look at a window of a text, which begins there in it, and of which so many characters have `left`.
fn looked(
    screen: &Screen,
    (from, seen): (usize, &str),
    left: u64,
    (cuts, redacted, recorded): (&mut Cuts, &mut bool, &mut bool),
) -> Result<(), Refusal> {
    // Nothing of it leaves any more.
    if *redacted {
        return Ok(());
    }
    let (mut refuses, mut redacting): (Option<Refusal>, Vec<&Guard>) = (None, Vec::new());
    for (guard, on_finding) in &*screen.guards {
        let kinds: Kinds = vidimus_guard::find(guard, "", seen).map_err(|_| cannot_look())?;
        if kinds.is_empty() {
            continue;
        }
        let came = match on_finding {
            OnFinding::Record => Came::Recorded,
            OnFinding::Redact => Came::Redacted,
            OnFinding::Refuse => Came::Found,
        };
        screen.noted.found(guard, came, &kinds, left);
        match on_finding {
            OnFinding::Record if *recorded => {}
            OnFinding::Record => {
                *recorded = true;
                screen.noted.add(1);
            }
            OnFinding::Redact => redacting.push(guard),
            OnFinding::Refuse => {
                screen.noted.add(1);
                refuses.get_or_insert_with(|| refused(guard, &kinds));
            }
        }
    }
    if !redacting.is_empty() {
        screen.noted.add(usize::from(cuts.is_empty()));
        let places = vidimus_guard::places(&redacting, "", seen).map_err(|_| cannot_look())?;
        *redacted = !places.is_some_and(|places| cuts.add(from, places));
    }
    refuses.map_or(Ok(()), Err)
}
