//! What one file says.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use vidimus_core::resource::{self, Object, Origin, Rejection};

use crate::document::{self, Document, Malformed, Piece};
use crate::files;
use crate::list;
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
    /// What each of its objects says; several are of a list.
    says: Vec<Says>,
}

#[derive(Clone, Debug)]
enum Says {
    Object(Object),
    Rejected(Vec<Rejection>),
}

/// A file, and whether what it says is as a cluster has it.
type Place<'a> = (&'a Arc<Path>, bool);

impl Contents {
    /// Reads and checks a file; `of_cluster` says whether its objects are as a cluster has them. Documents that stand in `last`, the same in the
    /// same line, are taken over.
    pub(crate) fn of(path: &Arc<Path>, of_cluster: bool, last: Option<&Self>) -> Self {
        let place = (path, of_cluster);
        let documents = match text_of(path) {
            Ok(text) if files::is_json(path) => {
                let documents = list::documents(&text, 1, document::json(&text));
                vec![Checked { line: 1, text: None, says: Says::all(place, documents) }]
            }
            Ok(text) => yaml(place, &text, last),
            Err((reason, fix)) => {
                let rejection = Rejection { reason, fix: fix.to_owned(), ..about(path) };
                vec![Checked { line: 1, text: None, says: vec![Says::Rejected(vec![rejection])] }]
            }
        };
        Self { documents }
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.says().filter_map(|says| match says {
            Says::Object(object) => Some(object),
            Says::Rejected(_) => None,
        })
    }

    fn says(&self) -> impl Iterator<Item = &Says> {
        self.documents.iter().flat_map(|document| &document.says)
    }

    /// Whether it says nothing at all: it is empty, or has comments only.
    pub(crate) fn is_silent(&self) -> bool {
        self.objects().next().is_none() && self.rejections().next().is_none()
    }

    pub(crate) fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.says().flat_map(|says| match says {
            Says::Object(_) => [].as_slice(),
            Says::Rejected(rejections) => rejections,
        })
    }
}

fn yaml(place: Place<'_>, text: &str, last: Option<&Contents>) -> Vec<Checked> {
    let known = last.into_iter().flat_map(|last| &last.documents);
    let known: HashMap<(u32, &str), &Vec<Says>> =
        known.filter_map(|known| Some(((known.line, known.text.as_deref()?), &known.says))).collect();
    let pieces = document::pieces(text);
    let several = pieces.len() > 1;
    let check = |piece: Piece<'_>| {
        let says = match known.get(&(piece.line, piece.text)) {
            Some(says) => (*says).clone(),
            None => piece.read().map_or_else(Vec::new, |document| {
                Says::all(place, list::documents(piece.text, piece.line, document))
            }),
        };
        Checked { line: piece.line, text: several.then(|| piece.text.into()), says }
    };
    pieces.into_iter().map(check).collect()
}

impl Says {
    fn all(place: Place<'_>, documents: Vec<Document>) -> Vec<Self> {
        documents.into_iter().map(|document| Self::of(place, document)).collect()
    }

    fn of((path, of_cluster): Place<'_>, document: Document) -> Self {
        let origin = |line: u32| Origin::File { path: path.clone(), line };
        match document.content {
            Ok(value) => {
                let checked = resource::check_as(&origin(document.line), of_cluster, &value);
                checked.map_or_else(Self::Rejected, Self::Object)
            }
            Err(Malformed { line, reason, fix }) => {
                let fix = fix.to_owned();
                Self::Rejected(vec![Rejection { origin: origin(line), reason, fix, ..about(path) }])
            }
        }
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
