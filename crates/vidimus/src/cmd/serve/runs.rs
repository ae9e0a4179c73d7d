//! That this gateway began to serve, and that it ended, on record: without them a time without calls and one without a gateway look the
//! same (ADR 63).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vidimus_core::act::{Act, LastRun, Start, Stop};
use vidimus_gateway::{Shared, record_count};
use vidimus_ledger::Ledger;
use vidimus_registry::digest_of;

use super::supervisor::Supervisor;
use super::{Serve, sinks};

/// The most characters of what is said beside a start, and of why one failed.
const MAX_WHY: usize = 512;
/// How long a stop waits to be on record.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a stop waits for witnesses, and how often it looks for them.
const COSIGN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// Why a process ends that a signal told to.
const TOLD: &str = "it was told to stop";

/// A run of this gateway that is on record.
#[derive(Debug)]
pub(super) struct Run {
    /// The act by which it began.
    start: String,
}

/// Puts on record that it begins, before anything else of this run is: what it was started with, and how the run before it ended.
///
/// # Errors
/// Where it cannot be on record: then no call could be, either.
pub(super) async fn begin(serve: &Serve, shared: &Shared) -> anyhow::Result<Run> {
    let since = last_time(&shared.ledger);
    let run = shared.acts.standing().run.clone();
    let found = match run {
        Some(run) if run.is_stopped => LastRun::Stopped,
        Some(_) => LastRun::Unstopped,
        None if shared.ledger.size() == 0 => LastRun::New,
        None => LastRun::Unknown,
    };
    if found == LastRun::Unstopped {
        tracing::warn!(
            since = since.as_deref().unwrap_or_default(),
            "the run before this one ended without a stop; nothing is on record since"
        );
    }
    let start = Start {
        configuration: shared.snapshot().digest().to_owned(),
        flags: flags(serve),
        found,
        since,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let why = start_says(serve);
    let start = shared.note(Act::Start(start), &why).await;
    Ok(Run { start: start.context("the start cannot be put on record")? })
}

/// What the record of a start has in words.
fn start_says(serve: &Serve) -> String {
    let begins = "the gateway begins to serve";
    let says = match sinks::begun_anew(serve) {
        Some(anew) => format!("{begins}; {anew}"),
        None => begins.to_owned(),
    };
    says.chars().take(MAX_WHY).collect()
}

/// Waits until the process is told to stop, or must: it goes on as a whole or not at all. Gives why it ends.
pub(in crate::cmd) async fn until_told(
    supervisor: &mut Supervisor,
    mut signals: Signals,
) -> std::io::Result<(ExitCode, String)> {
    tokio::select! {
        () = signals.told() => {
            tracing::info!("stopping: running calls may end, new ones are refused");
            Ok((ExitCode::SUCCESS, TOLD.to_owned()))
        }
        ended = supervisor.ended() => {
            tracing::error!("stopping with status 2: {ended}");
            Ok((ExitCode::from(2), ended.to_string()))
        }
    }
}

/// Puts on record what was only counted and that it ends, when no call is under way any more, and closes the ledger. One that has failed takes
/// no such record, and the next start says that there is none. What did not come to serve after it had begun ends so too: nothing of it is
/// unknown, unlike of one that was killed.
pub(super) async fn end(
    serve: &Serve,
    shared: &Shared,
    run: Run,
    ended: &anyhow::Result<(ExitCode, String)>,
) {
    record_count(shared).await;
    let why = match ended {
        Ok((_, why)) => why.clone(),
        Err(error) => format!("the start failed: {error:#}").chars().take(MAX_WHY).collect(),
    };
    let stop = shared.note(Act::Stop(Stop { of: run.start }), &why);
    // Whoever acts waits for a store at times, and for this nobody kills the process.
    match tokio::time::timeout(PATIENCE, stop).await {
        Ok(Ok(_)) => {}
        Ok(Err(refusal)) => tracing::error!(%refusal, "the stop is not on record"),
        Err(_) => tracing::error!("the stop is not on record: an act is still under way"),
    }
    // Nobody waits for them where a start fails.
    if ended.is_ok() && !serve.witness.is_empty() {
        cosigned(&shared.ledger).await;
    }
    shared.ledger.close().await;
}

/// Waits until witnesses have cosigned all there is, for a while: what comes last is then believed like all before it, also where nobody starts
/// again.
async fn cosigned(ledger: &Ledger) {
    let size = ledger.size();
    let is_so = || ledger.cosigned().is_some_and(|signed| signed.checkpoint.size >= size);
    let waits = async {
        while ledger.is_open() && !is_so() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(COSIGN, waits).await.is_err() {
        tracing::warn!("the stop is not cosigned yet; it is after the next start");
    }
}

/// The signals that a process is told by, heard from when they are begun to be: until then each kills it.
///
/// SIGHUP is heard and does nothing: whoever sends it wants files to be read again, which they are when they change, and not the calls
/// to be cut.
pub(in crate::cmd) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to hear them, in the context of a runtime. Before anybody is told that the process serves: who sees that may stop it at once.
    ///
    /// # Errors
    /// Where the system lets none be heard.
    pub(in crate::cmd) fn hear() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    /// Waits for what a start waits for, unless the process is told to stop meanwhile: then gives why it ends.
    pub(super) async fn unless_told(
        &mut self,
        waits: impl Future<Output = ()>,
    ) -> Option<(ExitCode, String)> {
        tokio::select! {
            () = waits => None,
            () = self.told() => {
                tracing::info!("stopping before it serves: it was told to while it began");
                Some((ExitCode::SUCCESS, TOLD.to_owned()))
            }
        }
    }

    async fn told(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => tracing::info!(
                    "SIGHUP does nothing: files are read again when they change; stop with SIGTERM"
                ),
            }
        }
    }
}

/// What it was started with, as a digest. Addresses that may have a password in them show none of it in their debug form; that of the
/// collector is a plain text, and left out.
fn flags(serve: &Serve) -> String {
    let text = format!("{serve:?}");
    let hidden = serve.otlp_endpoint.as_ref().map(|address| text.replace(&format!("{address:?}"), "…"));
    format!("sha256:{}", digest_of(hidden.as_ref().unwrap_or(&text).as_bytes()))
}

/// The time of the last record, of whatever kind and version. It reads the newest segment.
fn last_time(ledger: &Ledger) -> Option<String> {
    let last = ledger.size().checked_sub(1)?;
    let hit = ledger.read_from(last).ok()?.next()?.ok()?;
    let record: serde_json::Value = serde_json::from_slice(&hit.record).ok()?;
    Some(record.get("time")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn parsed(words: &[&str]) -> Serve {
        let line = ["vidimus", "--resources", "a"].iter().chain(words);
        Line::try_parse_from(line).expect("flags").serve
    }

    fn of(words: &[&str]) -> String {
        flags(&parsed(words))
    }

    /// A SIEM that lacks records has them by somebody's decision, which is on record.
    #[test]
    fn the_start_names_each_sink_that_begins_as_a_new_one() {
        let data = tempfile::tempdir().expect("a directory");
        let data = data.path().to_str().expect("text");
        let says = |more: &[&str]| start_says(&parsed(&[&["--data", data][..], more].concat()));
        assert_eq!(says(&[]), "the gateway begins to serve");
        let sink = ["--sink", "syslog+tcp://127.0.0.1:601", "--sink", "otlp+http://127.0.0.1:4318/v1/logs"];
        assert_eq!(
            says(&sink),
            "the gateway begins to serve; sinks without a position begin at the present: syslog+tcp://127.0.0.1:601, otlp+http://127.0.0.1:4318"
        );
        let from = [&sink[..2], &["--sink-from", "7"]].concat();
        assert!(says(&from).ends_with("begin at record 7: syslog+tcp://127.0.0.1:601"), "{}", says(&from));
    }

    /// Attack: what is on record for good has nothing of a password in it, also not as a digest that passwords can be tried against.
    #[test]
    fn a_digest_of_options_tells_them_apart_and_has_no_password_in_it() {
        let plain = of(&[]);
        assert!(plain.starts_with("sha256:") && plain.len() == 71, "{plain}");
        assert_eq!(plain, of(&[]));
        assert_ne!(plain, of(&["--durability", "sync"]));
        let with = |password: &str| {
            let collector = format!("http://127.0.0.1:1/v1/traces?key={password}");
            let mut serve = parsed(&["--otlp-endpoint", &collector]);
            // As the environment has it: no argument has a password.
            let standing = format!("rediss://vidimus:{password}@127.0.0.1:1/0");
            serve.standing = Some(standing.parse().expect("an address"));
            flags(&serve)
        };
        assert_eq!(with("hunter2"), with("correct-horse"));
        assert_ne!(with("hunter2"), plain);
    }
}
