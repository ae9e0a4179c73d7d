//! Evidence, for who may take it along: the file of `vidimus audit export`, as it is written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, future, stream};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use vidimus_core::act::{self, Act};
use vidimus_core::clock::Clock as _;
use vidimus_core::person::{About, Operation};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_gateway::rfc3339;
use vidimus_ledger::ProveError;
use vidimus_query::audit::{self, EvidenceAsked, ExportError, ExportQuestion, Exported, Unsearched};
use vidimus_registry::configurations::Archive;

use super::people::{Admin, Asks, Refused};
use crate::clock::SystemClock;
use crate::cmd::audit::{Use, lookup_by};
use crate::cmd::data_directory;

/// Files that are written at once: each may read the log from one end to the other, where no index says what to read.
const PLACES: usize = 2;
/// Bytes that go at once. What is wrong before so many are there is told in the place of the file.
const PART: usize = 64 * 1024;
/// Parts that wait for whoever reads them.
const WAITING: usize = 4;
/// Longest text of what is asked for, in bytes: it has to fit a record.
const LONGEST: usize = 16 * 1024;
/// How long a checkpoint is waited for that covers what is there when it is asked: there is one each second.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// What the log and its configurations are read from.
pub(in crate::cmd::serve) struct Files {
    data: PathBuf,
    places: Arc<Semaphore>,
}

impl Files {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), places: Arc::new(Semaphore::new(PLACES)) }
    }
}

/// What evidence is asked of, as in [`ExportQuestion`]; by whom and when is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    asked: EvidenceAsked,
    #[serde(default)]
    since_checkpoints: Vec<String>,
    #[serde(default)]
    cosigned: bool,
    why: String,
}

/// Of a file that is being written.
enum Part {
    Bytes(Bytes),
    /// It is whole.
    End,
}

type Parts = mpsc::Receiver<Result<Part, Refusal>>;

/// Writes evidence to whoever may have it. That it was given, to whom and why, is on record before the first byte goes.
pub(super) async fn export(
    State(admin): State<Admin>,
    asks: Asks,
    body: Result<Json<Export>, JsonRejection>,
) -> Result<Response, Refused> {
    let Export { asked, since_checkpoints, cosigned, why } = asks.body(body).await?;
    asks.may(Operation::Export, About::View("records")).await?;
    let begun = async {
        let text = serde_json::to_value(&asked).map(|asked| asked.to_string());
        let text =
            text.map_err(|error| Refusal::new(Code::Internal, "it is not written").with_detail(error))?;
        if text.len() > LONGEST {
            let message =
                format!("what is asked for has {} bytes, and at most {LONGEST} are recorded", text.len());
            return Err(Refusal::new(Code::MessageInvalid, message));
        }
        let place = admin.files.places.clone().try_acquire_owned().map_err(|_| {
            Refusal::new(Code::Overloaded, format!("{PLACES} exports are under way"))
                .with_next("Try again when they are over: an export takes 120 s at most.")
        })?;
        until_signed(&admin).await?;
        let exported = Exported { at: rfc3339(SystemClock.now().wall), by: asks.person.actor() };
        let question = ExportQuestion { asked, since_checkpoints, cosigned, exported };
        let (parts, mut written) = mpsc::channel(WAITING);
        let data = admin.files.data.clone();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            write(&data, &question, parts);
        });
        let unfinished = || Refusal::new(Code::Internal, "the evidence was not written");
        match written.recv().await.ok_or_else(unfinished)?? {
            Part::Bytes(first) => Ok((Act::Export(act::Export { asked: text, cosigned }), first, written)),
            Part::End => Err(unfinished()),
        }
    };
    let (act, first, written) = match begun.await {
        Ok(begun) => begun,
        Err(refusal) => return Err(asks.refuse(refusal).await),
    };
    let done = asks.done(act, &why).await?;
    let headers = [
        ("content-type", "application/jsonl"),
        ("content-disposition", "attachment; filename=\"evidence.jsonl\""),
        ("cache-control", "private, no-store"),
        ("vidimus-act", &*done.id),
    ];
    Ok((headers, Body::from_stream(stream::once(future::ready(Ok(first))).chain(rest(written))))
        .into_response())
}

/// Waits until a checkpoint covers all that is there by now: what is younger is in no evidence.
async fn until_signed(admin: &Admin) -> Result<(), Refusal> {
    let ledger = &admin.shared().ledger;
    let size = ledger.size();
    let signed = async {
        while ledger.watermark().signed < size {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, signed).await.map_err(|_| {
        let message = format!("no checkpoint covers the youngest records within {} s", PATIENCE.as_secs());
        Refusal::new(Code::Overloaded, message).with_next("Try again later; there should be one each second.")
    })
}

/// What follows the first part. Where it has no end the connection is cut, so that nobody takes it for a file.
fn rest(written: Parts) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(written), |written| async move {
        let mut written = written?;
        let why = match written.recv().await {
            Some(Ok(Part::Bytes(bytes))) => return Some((Ok(bytes), Some(written))),
            Some(Ok(Part::End)) => return None,
            Some(Err(refusal)) => refusal.message,
            None => "it was not written to its end".into(),
        };
        tracing::error!(%why, "evidence that somebody asked for has no end; the connection is cut");
        Some((Err(io::Error::other(why)), None))
    })
}

/// Writes all of it, or why it is not written. Who does not read it any more is written nothing.
fn write(data: &Path, question: &ExportQuestion, parts: mpsc::Sender<Result<Part, Refusal>>) {
    let mut writer = Writer { parts, part: Vec::with_capacity(PART), is_begun: false };
    let end = match written(data, question, &mut writer) {
        Ok(()) => writer.send().map(|()| Ok(Part::End)).ok(),
        Err(refusal) => Some(Err(refusal)),
    };
    if let Some(end) = end {
        // Nobody is there.
        let _ = writer.parts.blocking_send(end);
    }
}

fn written(data: &Path, question: &ExportQuestion, writer: &mut Writer) -> Result<(), Refusal> {
    let ledger = data_directory::ledger(data)
        .map_err(|error| Refusal::new(Code::Internal, "the ledger is not there").with_detail(error))?;
    let archive = Archive::at(&data_directory::configurations(data));
    let index = vidimus_readmodel::directory(data);
    let lookup = lookup_by(Use::BESIDE_CALLS, &ledger, Some(&index));
    let answer = match audit::export_by(&*lookup, (&ledger, &[]), &archive, question, &mut *writer) {
        // A row of an index that is no record: what the log itself has is proven, or is not.
        Err(error) if error.is_unproven() && !writer.is_begun => {
            writer.part.clear();
            audit::export(&ledger, &archive, question, writer)
        }
        answer => answer,
    };
    let answer = answer.map_err(|error| refused(&error))?;
    match answer.damage.first() {
        None => Ok(()),
        Some(damage) => Err(damaged(damage)),
    }
}

/// What is missing is told by the command, which writes the rest; here nothing would tell it.
fn damaged(why: &str) -> Refusal {
    Refusal::new(Code::ActUnfit, format!("the ledger is damaged: {why}")).with_next(
        "Where the data directory is, `vidimus audit verify` tells more, and `vidimus audit export` writes what can be read.",
    )
}

fn refused(error: &ExportError) -> Refusal {
    match error {
        ExportError::Unsearched(Unsearched::Misasked(misasked)) => {
            Refusal::new(Code::MessageInvalid, misasked.to_string())
        }
        ExportError::UnknownId { damage: None, .. } => Refusal::new(Code::IdUnknown, error.to_string())
            .with_next("Take the id from the header `vidimus-call` of an answer, or from a record (`vidimus audit search`)."),
        ExportError::NotOfThisLog { .. } => Refusal::new(Code::MessageInvalid, error.to_string()),
        ExportError::Unprovable(ProveError::Uncosigned) | ExportError::Uncosigned { .. } => {
            Refusal::new(Code::ActUnfit, error.to_string()).with_next(
                "Ask without `cosigned`, or again when witnesses have cosigned a later checkpoint.",
            )
        }
        ExportError::File(error) => {
            Refusal::new(Code::Internal, "the evidence cannot be written").with_detail(error)
        }
        error => damaged(&error.to_string()),
    }
}

/// Sends what is written by parts. What is left when all is written is sent once it is known that nothing is wrong.
struct Writer {
    parts: mpsc::Sender<Result<Part, Refusal>>,
    part: Vec<u8>,
    /// Whether any of it was sent.
    is_begun: bool,
}

impl Writer {
    fn send(&mut self) -> io::Result<()> {
        self.is_begun = true;
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        let sent = self.parts.blocking_send(Ok(Part::Bytes(part.into())));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
