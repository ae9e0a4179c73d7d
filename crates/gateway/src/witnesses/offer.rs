//! One checkpoint, offered to one witness: `add-checkpoint` (C2SP tlog-witness).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use vidimus_ledger::{Cosignature, Prover, SignedCheckpoint};

use super::{Cosigning, Witness};
use crate::beside::{chain, retry_after};

/// Of an answer, in bytes: a witness has few keys, and its largest line is 3.3 kB.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a witness has not cosigned.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: Kind,
    pub(super) why: String,
    /// It wants not to be asked before.
    pub(super) after: Option<Duration>,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is not there, or what it answers is nothing.
    Failed,
    /// It does not take checkpoints of this log.
    Refused,
    /// It saw another past of the log.
    Inconsistent,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Inconsistent => "inconsistent",
        }
    }
}

fn failed(kind: Kind, why: impl Into<String>) -> Failed {
    Failed { kind, why: why.into(), after: None }
}

/// An answer that is not a failure.
enum Answer {
    Cosigned(Cosignature),
    /// It has seen a checkpoint of so many records, and of no more.
    Seen(u64),
}

impl Cosigning {
    /// Has one witness cosign a checkpoint.
    pub(super) async fn offer(
        &self,
        witness: &Witness,
        offered: &SignedCheckpoint,
        prover: &Arc<Mutex<Prover>>,
    ) -> Result<Cosignature, Failed> {
        let deadline = self.patience.deadline;
        let offer = self.offer_twice(witness, offered, prover);
        tokio::time::timeout(deadline, offer).await.unwrap_or_else(|_| {
            Err(failed(Kind::Failed, format!("no answer within {} ms", deadline.as_millis())))
        })
    }

    /// Where the witness has seen another checkpoint than was thought, it says which: then it is asked once more.
    async fn offer_twice(
        &self,
        witness: &Witness,
        offered: &SignedCheckpoint,
        prover: &Arc<Mutex<Prover>>,
    ) -> Result<Cosignature, Failed> {
        let size = offered.checkpoint.size;
        let old = witness.change(|it| it.seen).min(size);
        let seen = match self.ask(witness, offered, prover, old).await? {
            Answer::Cosigned(cosignature) => return Ok(cosignature),
            Answer::Seen(seen) if seen > size => {
                let why = format!(
                    "it has seen a checkpoint of {seen} records, and the ledger has signed for {size}"
                );
                return Err(failed(Kind::Inconsistent, why));
            }
            Answer::Seen(seen) => seen,
        };
        witness.change(|it| it.seen = seen);
        match self.ask(witness, offered, prover, seen).await? {
            Answer::Cosigned(cosignature) => Ok(cosignature),
            Answer::Seen(other) => {
                let why =
                    format!("it says that it has seen a checkpoint of {seen} records, and then of {other}");
                Err(failed(Kind::Failed, why))
            }
        }
    }

    async fn ask(
        &self,
        witness: &Witness,
        offered: &SignedCheckpoint,
        prover: &Arc<Mutex<Prover>>,
        old: u64,
    ) -> Result<Answer, Failed> {
        let body = body(offered, prover.clone(), old).await?;
        let request = Request::post(witness.uri.clone())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(USER_AGENT, concat!("vidimus/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(Kind::Failed, error.to_string()))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| failed(Kind::Failed, chain(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| failed(Kind::Failed, chain(&*error)))?.to_bytes();
        let text = str::from_utf8(&body).unwrap_or_default();
        match head.status {
            StatusCode::OK => cosigned(witness, offered, text).map(Answer::Cosigned),
            StatusCode::CONFLICT => {
                let seen =
                    text.strip_suffix('\n').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let seen = seen.and_then(|text| text.parse().ok()).map(Answer::Seen);
                seen.ok_or_else(|| failed(Kind::Failed, "it answered 409 and no size"))
            }
            status => Err(Failed { after: retry_after(&head.headers), ..refusal(status, old) }),
        }
    }
}

/// What is sent: the size that it is thought to have seen, the proof from there, and the checkpoint.
async fn body(offered: &SignedCheckpoint, prover: Arc<Mutex<Prover>>, old: u64) -> Result<String, Failed> {
    // Tiles are read for it.
    let proof = tokio::task::spawn_blocking(move || {
        prover.lock().unwrap_or_else(PoisonError::into_inner).consistency_from(old)
    });
    let proof = proof.await.map_err(|error| failed(Kind::Failed, error.to_string()))?;
    let proof = proof.map_err(|error| failed(Kind::Failed, format!("no proof can be made: {error}")))?;
    let lines: String = proof.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect();
    Ok(format!("old {old}\n{lines}\n{}", offered.note))
}

/// What of an answer is its own, and right. Lines of other keys mean nothing here.
fn cosigned(witness: &Witness, offered: &SignedCheckpoint, lines: &str) -> Result<Cosignature, Failed> {
    // Behind an empty line would be the signatures of another text.
    if !lines.starts_with('—') || lines.contains("\n\n") {
        return Err(failed(Kind::Failed, "what it answered are not signature lines"));
    }
    match witness.key.cosigned(&format!("{}{lines}", offered.note)) {
        Ok(Some(cosignature)) => Ok(cosignature),
        Ok(None) => Err(failed(Kind::Failed, "what it answered has no cosignature by its key")),
        Err(error) => Err(failed(Kind::Failed, format!("what it answered is not right: {error}"))),
    }
}

/// What other statuses mean (C2SP tlog-witness, "add-checkpoint").
fn refusal(status: StatusCode, old: u64) -> Failed {
    let why = format!("it answered {status}");
    match status.as_u16() {
        403 | 404 => failed(
            Kind::Refused,
            format!(
                "{why}: whoever runs it has to add the log's origin and key, which is in DATA/ledger/keys/checkpoint.vkey"
            ),
        ),
        // From nothing there is nothing to prove, so it is no word about the past.
        422 if old > 0 => failed(
            Kind::Inconsistent,
            format!("{why}: the ledger does not continue the checkpoint of {old} records that it has seen"),
        ),
        400 | 422 => failed(Kind::Refused, why),
        _ => failed(Kind::Failed, why),
    }
}
