//! What one file says.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use vidimus_core::resource::{self, Object, Origin, Rejection};

use crate::document::{self, Document, Malformed, Piece};
use crate::files;
use crate::load::about;

/// Maximum bytes of one file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What one file says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    documents: Vec<Checked>,
}

/// One document, read and checked.
#[derive(Debug)]
struct Checked {
    /// Where its text begins, 1-based.
    line: u32,
    /// Its text, where the file has more than one document: most of them are the same when the file changes.
    text: Option<Box<str>>,
    says: Says,
}

#[derive(Clone, Debug)]
enum Says {
    Object(Object),
    /// Nothing, when the list is empty.
    Rejected(Vec<Rejection>),
}

impl Contents {
    /// Reads and checks a file. Documents that stand in `last`, the same in the same line, are taken over.
    pub(crate) fn of(path: &Arc<Path>, last: Option<&Self>) -> Self {
        let documents = match text_of(path) {
            Ok(text) if files::is_json(path) => {
                vec![Checked { line: 1, text: None, says: Says::of(path, document::json(&text)) }]
            }
            Ok(text) => yaml(path, &text, last),
            Err((reason, fix)) => {
                let rejection = Rejection { reason, fix: fix.to_owned(), ..about(path) };
                vec![Checked { line: 1, text: None, says: Says::Rejected(vec![rejection]) }]
            }
        };
        Self { documents }
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.documents.iter().filter_map(|document| match &document.says {
            Says::Object(object) => Some(object),
            Says::Rejected(_) => None,
        })
    }

    /// Whether it says nothing at all: it is empty, or has comments only.
    pub(crate) fn is_silent(&self) -> bool {
        self.objects().next().is_none() && self.rejections().next().is_none()
    }

    pub(crate) fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.documents.iter().flat_map(|document| match &document.says {
            Says::Object(_) => [].as_slice(),
            Says::Rejected(rejections) => rejections,
        })
    }
}

fn yaml(path: &Arc<Path>, text: &str, last: Option<&Contents>) -> Vec<Checked> {
    let known = last.into_iter().flat_map(|last| &last.documents);
    let known: HashMap<(u32, &str), &Says> =
        known.filter_map(|known| Some(((known.line, known.text.as_deref()?), &known.says))).collect();
    let pieces = document::pieces(text);
    let several = pieces.len() > 1;
    let check = |piece: Piece<'_>| {
        let says = match known.get(&(piece.line, piece.text)) {
            Some(says) => (*says).clone(),
            None => piece.read().map_or(Says::Rejected(Vec::new()), |document| Says::of(path, document)),
        };
        Checked { line: piece.line, text: several.then(|| piece.text.into()), says }
    };
    pieces.into_iter().map(check).collect()
}

impl Says {
    fn of(path: &Arc<Path>, document: Document) -> Self {
        let origin = |line: u32| Origin::File { path: path.clone(), line };
        match document.content {
            Ok(value) => Self::checked(&origin(document.line), &value),
            Err(Malformed { line, reason, fix }) => {
                let fix = fix.to_owned();
                Self::Rejected(vec![Rejection { origin: origin(line), reason, fix, ..about(path) }])
            }
        }
    }

    fn checked(origin: &Origin, value: &Value) -> Self {
        resource::check(origin, value).map_or_else(Self::Rejected, Self::Object)
    }
}

/// The text, or the reason why there is none and the fix.
pub(crate) fn text_of(path: &Path) -> Result<String, (String, &'static str)> {
    let mut bytes = Vec::new();
    let read = files::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        (error.to_string(), "make it readable for the gateway, or take it out of the directory")
    })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err((format!("the file is larger than {MAX_FILE} bytes"), "split it into several files"));
    }
    String::from_utf8(bytes).map_err(|error| {
        (format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()), "save it as UTF-8")
    })
}
