//! `vidimus audit shred`: the keys of somebody's kept payloads are destroyed.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{ArgGroup, Args};
use serde_json::json;
use tokio::runtime::Builder;
use url::Url;
use vidimus_core::act::{self, Act, Formless, MOST_KEYS, Subject};
use vidimus_core::clock::Clock as _;
use vidimus_core::record::{ActKind, ActRecord, Record, VERSION};
use vidimus_gateway::{PayloadKeys, rfc3339};
use vidimus_ledger::{Config, Ledger, OpenError};
use vidimus_query::acts::ActDone;

use super::export::user;
use crate::clock::SystemClock;
use crate::cmd::admin_client::{self, Who, told};
use crate::cmd::data_directory;
use crate::output::Format;

/// Where a gateway answers that has its ledger open, if nothing else is said.
const ADMIN: &str = "127.0.0.1:9901";

/// Destroys the keys of the payloads that are kept for somebody (@keep): nobody reads them any more, and the log is proven as before.
///
/// It is an act of yours, on record with your name and why. A gateway that runs does it, and whether you may is in policies
/// (Action::"shred"); of one that is stopped its data directory is enough. It cannot be undone. What stands elsewhere is not destroyed: copies
/// of DATA/payload-keys in backups, what policies looked at (facts), and digests of messages.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("whose").required(true).args(["person", "subject"]),
    after_help = "Examples:
  vidimus audit shred --person 'https://login.example#ada' \\
    --why 'erasure request 4711'
  vidimus audit shred --subject Agent/finance/invoice-bot --why 'end of trial' \\
    --admin 127.0.0.1:9901 --as ada

Exit codes: 0 destroyed, 2 not destroyed."
)]
pub struct Shred {
    /// The person: issuer#subject, as records have it (user).
    #[arg(long, value_name = "ISSUER#SUBJECT")]
    person: Option<String>,
    /// Whoever called on nobody's behalf: Agent/namespace/name or Service/namespace/name.
    #[arg(long, value_name = "SUBJECT", value_parser = Subject::that_keeps)]
    subject: Option<Subject>,
    /// Why, for the record; at most 1024 bytes.
    #[arg(long)]
    why: String,
    /// Who does it, for the record of a gateway that is stopped [default: the user that runs this].
    #[arg(long)]
    by: Option<String>,
    /// The admin address of a gateway that runs [default: 127.0.0.1:9901, where DATA is in use].
    #[arg(long, env = "VIDIMUS_ADMIN", value_name = "ADDRESS", value_parser = admin_client::address)]
    admin: Option<Url>,
    #[command(flatten)]
    who: Who,
}

impl Shred {
    fn whose(&self) -> anyhow::Result<Subject> {
        match (&self.person, &self.subject) {
            (Some(person), _) => {
                let subject = Subject::that_keeps(&format!("User/{person}"));
                subject.map_err(|_| Formless::User(person.as_str().into())).context("--person")
            }
            (None, Some(subject)) => Ok(subject.clone()),
            // The command line is not understood without them.
            (None, None) => bail!("give --person or --subject"),
        }
    }
}

pub fn run(data: &Path, shred: &Shred, format: Format) -> anyhow::Result<ExitCode> {
    ensure!(
        !shred.why.trim().is_empty() && shred.why.len() <= 1024,
        "--why: say why in a few words, at most 1024 bytes"
    );
    let subject = shred.whose()?;
    if let Some(admin) = &shred.admin {
        return asked(admin, data, (shred, &subject), format);
    }
    // What a mistyped --data would make is no ledger.
    let dir = data_directory::ledger(data)?;
    data_directory::prepare(data)?;
    match Ledger::open(Config { dir, ..Config::default() }) {
        Ok(ledger) => {
            let actor = format!("User/local#{}", shred.by.clone().unwrap_or_else(user));
            told(&destroyed(data, &ledger, (&subject, &actor, &shred.why))?, DONE, format)
        }
        Err(OpenError::InUse { .. }) => {
            asked(&admin_client::address(ADMIN)?, data, (shred, &subject), format)
        }
        Err(error) => Err(error).context("no key is destroyed"),
    }
}

const DONE: &str = "has no key any more that opens what was kept until now";

/// By a gateway that runs.
fn asked(
    admin: &Url,
    data: &Path,
    (shred, subject): (&Shred, &Subject),
    format: Format,
) -> anyhow::Result<ExitCode> {
    const PATH: &str = "/payloads/shred";
    let token = admin_client::token(data, &shred.who)?;
    let question = serde_json::to_vec(&json!({"subject": subject, "why": shred.why}))?;
    let body = admin_client::exchange(admin, PATH, &token, Some(question))?;
    let done: ActDone =
        serde_json::from_slice(&body).with_context(|| format!("--admin: the answer of {PATH}"))?;
    told(&done, DONE, format)
}

/// In the data directory of one that is stopped, as the gateway does it: out of use, on record, destroyed.
fn destroyed(
    data: &Path,
    ledger: &Ledger,
    (subject, actor, why): (&Subject, &str, &str),
) -> anyhow::Result<ActDone> {
    let keys = PayloadKeys::of_data(data);
    let Some(aside) = keys.set_aside(&subject.to_string())? else {
        bail!(
            "no key of {subject} is in {}: what may have been kept of it is read by nobody here, and nothing was destroyed",
            data.display()
        );
    };
    let act = act::Shred {
        keys: aside.keys.iter().take(MOST_KEYS).cloned().collect(),
        records: aside.records,
        subject: subject.clone(),
    };
    let id = uuid::Uuid::now_v7().to_string();
    let record = Record::Act(ActRecord {
        act: Act::Shred(act),
        actor: actor.into(),
        id: id.as_str().into(),
        kind: ActKind,
        note: false,
        shared: None,
        time: rfc3339(SystemClock.now().wall).into(),
        version: VERSION,
        why: why.into(),
    });
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let index = runtime
        .block_on(ledger.record(&record))
        .context("the keys are out of use, and destroyed when this is asked again or the gateway starts")?;
    // On the disk, before anything is destroyed for it.
    runtime.block_on(ledger.close());
    keys.destroy(&aside).with_context(|| format!("act {id} is on record, and is to be done again"))?;
    Ok(ActDone { act: id, record: index, subject: subject.to_string(), warnings: Vec::new() })
}
