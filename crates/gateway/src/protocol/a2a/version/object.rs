//! An object of one version as the other one has it: by a table of its members, which is read both ways.

use serde_json::value::RawValue;
use vidimus_core::resource::A2aVersion;

use super::parts;
use crate::protocol::members::{Members, quoted, text};

/// Why something is not translated.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not of the version that it is meant to be of.
    Unreadable(String),
    /// The other version has no like of it.
    Without(String),
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Whose words are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// All of it is to arrive: what is not known is refused.
    Caller,
    /// It was done already: what is not known is left out.
    Agent,
}

/// What is said, and in which version it is to be said.
#[derive(Clone, Copy, Debug)]
pub struct Saying {
    pub to: A2aVersion,
    pub who: Who,
}

/// The members of an object.
#[derive(Debug)]
pub struct Object {
    /// What 0.3 calls it.
    pub kind: Option<&'static str>,
    pub members: &'static [Member],
    /// What 0.3 has to have, and 1.0 may leave out.
    pub absent: &'static [(&'static str, &'static str)],
}

/// One of them. A name that is empty is of a member that the version does not have.
#[derive(Debug)]
pub struct Member {
    pub new: &'static str,
    pub old: &'static str,
    pub is: Is,
}

/// What its value is.
#[derive(Clone, Copy, Debug)]
pub enum Is {
    /// The same in both, byte for byte.
    Same,
    /// The same, but that an empty text is none.
    Name,
    Object(&'static Object),
    List(&'static Object),
    Parts,
    /// A word of 1.0, and the one of 0.3.
    Word(&'static [(&'static str, &'static str)]),
    /// What is true in the one is not in the other.
    Not,
    /// ISO 8601 knows times without an offset, and the schema of 1.0 does not.
    Time,
    /// One text in 1.0, and a list with it in 0.3.
    Only,
}

impl Saying {
    /// An object of these members.
    ///
    /// # Errors
    /// For what is none, and of a caller's for what has no like.
    pub fn object(self, of: &Object, said: &str) -> Result<String, Fault> {
        let mut written = Written::default();
        self.write(of, said, &mut written)?;
        Ok(written.finish())
    }

    /// The same, behind what is written.
    pub fn write(self, of: &Object, said: &str, written: &mut Written) -> Result<(), Fault> {
        if let (A2aVersion::V0_3, Some(kind)) = (self.to, of.kind) {
            written.put("kind", &quoted(kind));
        }
        for (name, value) in &object(said)?.0 {
            if value.get() != "null" {
                self.member(of, (name, value), written)?;
            }
        }
        if self.to == A2aVersion::V0_3 {
            for (name, value) in of.absent {
                if !written.has(name) {
                    written.put(name, value);
                }
            }
        }
        Ok(())
    }

    fn member(
        self,
        of: &Object,
        (name, value): (&str, &RawValue),
        written: &mut Written,
    ) -> Result<(), Fault> {
        let pair = |member: &Member| match self.to {
            A2aVersion::V1_0 => (member.old, member.new),
            A2aVersion::V0_3 => (member.new, member.old),
        };
        let found = of
            .members
            .iter()
            .map(|member| (pair(member), member.is))
            .find(|((from, _), _)| *from == name && !name.is_empty());
        match (found, of.kind) {
            (Some(((_, ""), _)), _) => self.without(name, value),
            (Some(((_, to), is)), _) => {
                if let Some(value) = self.value(is, value.get())? {
                    written.put(to, &value);
                }
                Ok(())
            }
            (None, Some(kind)) if name == "kind" && self.to == A2aVersion::V1_0 => {
                let is_it = text(value).is_some_and(|said| said == kind);
                is_it.then_some(()).ok_or_else(|| Fault::Unreadable(format!("\"kind\" is to be {kind:?}")))
            }
            (None, _) => self.unknown(name),
        }
    }

    /// A member that the version of who says it does not have.
    pub fn unknown(self, name: &str) -> Result<(), Fault> {
        let shown: String = name.chars().take(64).collect();
        match self.who {
            Who::Caller => Err(Fault::Unreadable(format!("there is no member {shown:?} where it stands"))),
            Who::Agent => Ok(()),
        }
    }

    /// A member that the other version does not have: nothing is lost where it says nothing.
    pub fn without(self, name: &str, value: &RawValue) -> Result<(), Fault> {
        let is_nothing = || {
            let said: String = value.get().chars().filter(|c| !c.is_ascii_whitespace()).collect();
            matches!(&*said, "null" | "\"\"" | "{}" | "[]" | "0" | "false")
        };
        match self.who {
            Who::Caller if !is_nothing() => Err(Fault::Without(format!("member {name:?}"))),
            Who::Caller | Who::Agent => Ok(()),
        }
    }

    /// A value; `None` where it says nothing.
    fn value(self, is: Is, said: &str) -> Result<Option<String>, Fault> {
        Ok(Some(match is {
            Is::Same => said.to_owned(),
            Is::Name if said == "\"\"" => return Ok(None),
            Is::Name => quoted(&word(said)?),
            Is::Object(of) => self.object(of, said)?,
            Is::List(of) => list(said, |one| self.object(of, one))?,
            Is::Parts => list(said, |one| parts::part(self, one))?,
            Is::Word(words) => {
                let said = word(said)?;
                let known = words.iter().find_map(|(new, old)| match self.to {
                    A2aVersion::V1_0 => (*old == said).then_some(*new),
                    A2aVersion::V0_3 => (*new == said).then_some(*old),
                });
                let shown = || said.chars().take(64).collect::<String>();
                quoted(known.ok_or_else(|| Fault::Unreadable(format!("{:?} is none of its words", shown())))?)
            }
            Is::Not => match said {
                "true" => "false".to_owned(),
                "false" => "true".to_owned(),
                _ => return Err(Fault::Unreadable("what is true or false is neither".to_owned())),
            },
            Is::Time if self.to == A2aVersion::V1_0 => quoted(&at_utc(word(said)?)),
            Is::Time => quoted(&word(said)?),
            Is::Only => return self.only(said),
        }))
    }

    fn only(self, said: &str) -> Result<Option<String>, Fault> {
        if self.to == A2aVersion::V0_3 {
            let only = quoted(&word(said)?);
            return Ok((only != "\"\"").then(|| format!("[{only}]")));
        }
        let all: Vec<&RawValue> = serde_json::from_str(said)?;
        match &all[..] {
            [] => Ok(None),
            [first, more @ ..] if more.is_empty() || self.who == Who::Agent => {
                Ok(Some(first.get().to_owned()))
            }
            [_, ..] => Err(Fault::Without("more than one scheme".to_owned())),
        }
    }
}

/// The members of what is one object, none of them twice.
pub fn object(said: &str) -> Result<Members<'_>, Fault> {
    Ok(Members::unique(said)?)
}

/// A list with something made of each.
pub fn list(said: &str, each: impl Fn(&str) -> Result<String, Fault>) -> Result<String, Fault> {
    let all: Vec<&RawValue> = serde_json::from_str(said)?;
    let all = all.into_iter().map(|one| each(one.get())).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[{}]", all.join(",")))
}

fn word(said: &str) -> Result<String, Fault> {
    Ok(serde_json::from_str(said)?)
}

/// A time without an offset is one of UTC.
fn at_utc(mut time: String) -> String {
    if time.split_once('T').is_some_and(|(_, clock)| !clock.contains(['Z', 'z', '+', '-'])) {
        time.push('Z');
    }
    time
}

/// An object that is being written.
#[derive(Debug, Default)]
pub struct Written {
    names: Vec<&'static str>,
    text: String,
}

impl Written {
    /// A member more; `value` is JSON.
    pub fn put(&mut self, name: &'static str, value: &str) {
        self.names.push(name);
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(&quoted(name));
        self.text.push(':');
        self.text.push_str(value);
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// As JSON.
    pub fn finish(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        self.text
    }
}
