//! One server-sent event, read and written again: what changes is its data and its id, and every other line stays as it came.

use vidimus_core::refusal::{Code, Refusal};

use super::sse::{self, value_of};

/// What becomes of the data of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Same,
    To(String),
    /// The event is not passed on.
    Drop,
}

/// What is changed of the events of one stream.
pub trait Rewrite {
    /// What becomes of the data of an event, which has some.
    ///
    /// # Errors
    /// `upstream_invalid` for what had to be read and could not be.
    fn data(&mut self, data: &str) -> Result<Change, Refusal>;

    /// What the caller gets for the id of an event, which is not empty; `None` where the id stays as it is.
    ///
    /// # Errors
    /// `internal` where it cannot be sealed.
    fn id(&mut self, id: &str) -> Result<Option<String>, Refusal>;
}

/// An event with its data and its id changed; `None` where neither changes, and nothing where it is not passed on.
///
/// # Errors
/// As those of [`Rewrite`], and `upstream_invalid` for an event that is not UTF-8, or is several to some readers.
pub fn rewrite(event: &[u8], by: &mut dyn Rewrite) -> Result<Option<Vec<u8>>, Refusal> {
    let text = read(event)?;
    let event = Event::read(text)?;
    let data = match &event.data {
        Some(data) => by.data(data)?,
        None => Change::Same,
    };
    let id = match event.id() {
        Some(id) if data != Change::Drop => by.id(id)?,
        _ => None,
    };
    let data = match (data, &id) {
        (Change::Drop, _) => return Ok(Some(Vec::new())),
        (Change::Same, None) => return Ok(None),
        (Change::Same, Some(_)) => event.data.as_deref().map(Into::into),
        (Change::To(data), _) => Some(std::borrow::Cow::Owned(data)),
    };
    Ok(Some(event.write(data.as_deref(), id.as_deref(), text.len())))
}

/// An event of its data and its id alone, both as [`rewrite`] has them: whatever the server writes beside them is taken out. What has neither
/// becomes a comment that says nothing, and keeps the connection alive; what is not passed on, and no event at all, nothing.
///
/// # Errors
/// As [`rewrite`].
pub fn bare(event: &[u8], by: &mut dyn Rewrite) -> Result<Vec<u8>, Refusal> {
    let event = Event::read(read(event)?)?;
    if event.fields.is_empty() && event.data.is_none() {
        return Ok(Vec::new());
    }
    let data = match event.data.as_deref().map(|data| by.data(data)).transpose()? {
        Some(Change::Drop) => return Ok(Vec::new()),
        Some(Change::To(data)) => Some(data),
        Some(Change::Same) | None => event.data.clone(),
    };
    let id = match event.id() {
        Some(id) => Some(by.id(id)?.unwrap_or_else(|| id.to_owned())),
        None => None,
    };
    if data.is_none() && id.is_none() {
        return Ok(b":\n\n".to_vec());
    }
    let others = Event { fields: Vec::new(), data: None };
    Ok(others.write(data.as_deref(), id.as_deref(), 0))
}

/// What one event says, without its comments and how long to wait before one asks again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// Its data; `None` of an event without a line of data.
    pub data: Option<String>,
}

impl Parts {
    /// Of one event; `None` of no event at all.
    ///
    /// # Errors
    /// `upstream_invalid` for an event that is not UTF-8.
    pub fn of(event: &[u8]) -> Result<Option<Self>, Refusal> {
        let event = Event::read(read(event)?)?;
        if event.fields.is_empty() && event.data.is_none() {
            return Ok(None);
        }
        let name = event.fields.iter().rev().find_map(|line| value_of(line, "event"));
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let id = event.id().map(str::to_owned);
        Ok(Some(Self { name, id, data: event.data }))
    }

    /// Whether it says nothing, as what keeps a connection alive.
    pub const fn are_none(&self) -> bool {
        self.name.is_none() && self.id.is_none() && self.data.is_none()
    }

    /// As an event.
    pub fn write(&self) -> Vec<u8> {
        let name = self.name.as_deref().map(|name| format!("event: {name}"));
        let event = Event { fields: name.iter().map(String::as_str).collect(), data: None };
        event.write(self.data.as_deref(), self.id.as_deref(), self.data.as_ref().map_or(0, String::len))
    }
}

fn read(event: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(event).map_err(|error| {
        Refusal::new(Code::UpstreamInvalid, "the upstream's events are not UTF-8").with_detail(error)
    })
}

/// One event, read: its data, and the lines of all else.
struct Event<'a> {
    fields: Vec<&'a str>,
    /// `None` of an event without a line of data.
    data: Option<String>,
}

/// What ends a line for readers that split it as Python's `str.splitlines` does, and not in HTML. Behind it there would be another event for them. In a line of
/// data it stands within a text of JSON, behind which no JSON begins.
const OTHER_ENDS: [char; 8] =
    ['\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

impl<'a> Event<'a> {
    /// # Errors
    /// `upstream_invalid` for what is more than one event to some readers.
    fn read(event: &'a str) -> Result<Self, Refusal> {
        let (mut fields, mut data) = (Vec::new(), None::<String>);
        for line in sse::lines(event) {
            let Some(part) = value_of(line, "data") else {
                if line.contains(OTHER_ENDS) {
                    let message = "an event of the upstream's has a line that is several to some readers";
                    return Err(Refusal::new(Code::UpstreamInvalid, message));
                }
                fields.push(line);
                continue;
            };
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(part);
                }
                None => data = Some(part.to_owned()),
            }
        }
        Ok(Self { fields, data })
    }

    /// The last id, which is the one that counts, where it is one (HTML, section 9.2.6).
    fn id(&self) -> Option<&'a str> {
        let mut ids = self.fields.iter().rev().filter_map(|line| value_of(line, "id"));
        ids.find(|id| !id.contains('\0')).filter(|id| !id.is_empty())
    }

    /// The same event with other data, and another id where there is one. JSON may go over several lines; each is a line of data
    /// again.
    fn write(&self, data: Option<&str>, id: Option<&str>, length: usize) -> Vec<u8> {
        let mut out = String::with_capacity(length + id.map_or(0, str::len));
        for field in &self.fields {
            if id.is_none() || value_of(field, "id").is_none() {
                out.push_str(field);
                out.push('\n');
            }
        }
        if let Some(id) = id {
            out.push_str("id: ");
            out.push_str(id);
            out.push('\n');
        }
        for line in data.into_iter().flat_map(|data| data.split('\n')) {
            out.push_str("data: ");
            out.push_str(line);
            out.push('\n');
        }
        out.push('\n');
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data in capitals, `drop` is dropped; ids in brackets.
    struct Loud;

    impl Rewrite for Loud {
        fn data(&mut self, data: &str) -> Result<Change, Refusal> {
            Ok(match data {
                "drop" => Change::Drop,
                data if data.chars().any(char::is_lowercase) => Change::To(data.to_uppercase()),
                _ => Change::Same,
            })
        }

        fn id(&mut self, id: &str) -> Result<Option<String>, Refusal> {
            Ok(Some(format!("[{id}]")))
        }
    }

    #[test]
    fn an_event_is_written_as_it_was_read_but_for_what_changes() {
        for (event, expected) in [
            ("data: A\n\n", None),
            (": note\n\n", None),
            ("retry: 5\n\n", None),
            ("data: a\n\n", Some("data: A\n\n")),
            ("data: a\ndata: b\n\n", Some("data: A\ndata: B\n\n")),
            ("event: message\r\ndata:a\r\n\r\n", Some("event: message\ndata: A\n\n")),
            ("id: 1\ndata: A\n\n", Some("id: [1]\ndata: A\n\n")),
            ("id:1\nretry: 5\ndata: \n\n", Some("retry: 5\nid: [1]\ndata: \n\n")),
            ("id: 1\n\n", Some("id: [1]\n\n")),
            ("id: 1\nid: 2\ndata: A\n\n", Some("id: [2]\ndata: A\n\n")),
            // An empty one resets the id; one with a NUL is none; a longer name is another field.
            ("id\ndata: A\n\n", None),
            ("id: 1\0\ndata: A\n\n", None),
            ("identity: 1\ndata: A\n\n", None),
            ("id: 1\ndata: drop\n\n", Some("")),
        ] {
            let written = rewrite(event.as_bytes(), &mut Loud).expect("an event");
            let written = written.map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
            assert_eq!(written.as_deref(), expected, "{event:?}");
        }
        assert_eq!(bare(b"data: \xff\n\n", &mut Loud).map_err(|r| r.code), Err(Code::UpstreamInvalid));
        assert_eq!(rewrite(b"data: \xff\n\n", &mut Loud).map_err(|r| r.code), Err(Code::UpstreamInvalid));
    }

    #[test]
    fn what_an_event_says_is_read_and_written() {
        for (event, expected) in [
            ("", None),
            ("\n", None),
            (": note\n\n", Some("\n")),
            ("retry: 5\n\n", Some("\n")),
            ("event: a\r\ndata: b\r\n\r\n", Some("event: a\ndata: b\n\n")),
            (
                "event: a\nevent: b\nid: 1\ndata: x\ndata: y\nother: z\n\n",
                Some("event: b\nid: 1\ndata: x\ndata: y\n\n"),
            ),
            ("event:\nid: 1\0\ndata\n\n", Some("data: \n\n")),
        ] {
            let parts = Parts::of(event.as_bytes()).expect("an event");
            let written = parts.map(|parts| String::from_utf8(parts.write()).expect("UTF-8"));
            assert_eq!(written.as_deref(), expected, "{event:?}");
        }
        assert!(Parts::of(b"data: \xff\n\n").is_err());
    }

    /// Attack: words in all that is no data and no id.
    #[test]
    fn a_bare_event_has_its_data_and_its_id_and_no_words_beside_them() {
        for (event, expected) in [
            (": 4111\nevent: 4111\nretry: 4111\nfoo: 4111\nid: 1\ndata: a\n\n", "id: [1]\ndata: A\n\n"),
            ("data: A\r\ndata: B\r\n\r\n", "data: A\ndata: B\n\n"),
            (": 4111\n\n", ":\n\n"),
            ("retry: 4111\nevent: 4111\n\n", ":\n\n"),
            ("id: 4111\0\ndata: A\n\n", "data: A\n\n"),
            ("id: 4111\nid: 1\n\n", "id: [1]\n\n"),
            ("id: 1\ndata: drop\n\n", ""),
            ("\n", ""),
            ("", ""),
        ] {
            let written = bare(event.as_bytes(), &mut Loud).expect("an event");
            assert_eq!(String::from_utf8_lossy(&written), expected, "{event:?}");
        }
    }
}
