//! `vidimus audit`: what happened, and the proof of it. Works beside a running gateway and without one. The log is only read, but for `prune`,
//! `rotate-key` and `shred`; `index`, `sql` and `stats` write an index of it, which may be anywhere.

mod archive;
mod checkpoints;
mod clickhouse;
mod evidence;
mod export;
mod fsck;
mod index;
mod logs;
mod prune;
mod rotate_key;
mod search;
mod show;
mod shred;
mod sql;
mod stats;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use vidimus_ledger::VerifierKey;
use vidimus_query::audit::Lookup;
use vidimus_query::audit::logs::Logs;
use vidimus_readmodel::Several;

pub(crate) use self::search::moment;
pub(super) use self::search::{Use, lookup, lookup_by};
use self::sql::Sql;

use super::data_directory;
use crate::output::{self, Format};

/// Searches, shows, exports, verifies, reports on, examines and prunes the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --data DIR --outcome deny # who was refused, and why
  vidimus audit show --data DIR CALL # everything about one call
  vidimus audit stats --data DIR --by agent --since 24h # who did how much
  vidimus audit sql --data DIR 'SELECT count(*) FROM records'
  vidimus audit stats --clickhouse clickhouse://db/vidimus # of all gateways
  vidimus audit export --data DIR --call CALL --out FILE # proof of it, to take
  vidimus audit evidence --data DIR --framework soc2 --from 90d \\
    --out soc2.html # a report for an auditor
  vidimus audit verify FILE # is it proven? anywhere, without the log
  vidimus audit verify --data DIR # is the log what it was?
  vidimus audit verify --ledger A/ledger --ledger B/ledger # are all of them?
  vidimus audit fsck --data DIR # what is wrong after a crash, and what to do")]
pub struct Audit {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    /// Where the index of the ledger is, or is to be [default: DATA/index, and none with --ledger]. For search, stats, sql and index.
    #[arg(long, env = "VIDIMUS_INDEX", global = true)]
    index: Option<PathBuf>,
    /// A ledger elsewhere: an archive (`vidimus serve --archive`), or DATA/ledger of another gateway, or a copy of it. May be given several
    /// times, all before the subcommand or all behind it: search, stats, sql, show, export, evidence, verify, checkpoints and logs then read all
    /// of them as one. prune and rotate-key, which write, take --data alone.
    #[arg(long, global = true, value_name = "DIR")]
    ledger: Vec<PathBuf>,
    #[command(flatten)]
    at: clickhouse::At,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Search(Box<search::Search>),
    Stats(stats::Stats),
    Sql(Sql),
    Index(index::Index),
    Show(show::Show),
    Export(Box<export::Export>),
    Evidence(Box<evidence::Evidence>),
    Fsck(fsck::Fsck),
    Prune(prune::Prune),
    Archive(archive::Archive),
    RotateKey(rotate_key::RotateKey),
    Shred(shred::Shred),
    Verify(verify::Verify),
    Checkpoints(checkpoints::Checkpoints),
    Logs(logs::OfTime),
    Prove(show::Prove),
}

impl Audit {
    /// Where the index is: of a ledger elsewhere there is none where none is named, and nothing is written beside it.
    fn index(&self) -> Option<PathBuf> {
        let own = || self.ledger.is_empty().then(|| vidimus_readmodel::directory(&self.data));
        self.index.clone().or_else(own)
    }

    /// What knows the records of a ledger: its index, where one is named or beside it.
    fn lookup(&self, ledger: &Path) -> Box<dyn Lookup> {
        let named = self.index.clone().filter(|_| self.ledger.len() < 2);
        lookup(ledger, named.or_else(|| index_beside(ledger)).as_deref())
    }

    /// The one ledger that is meant.
    fn ledger(&self) -> anyhow::Result<PathBuf> {
        match self.ledger.as_slice() {
            [] => data_directory::ledger(&self.data),
            [ledger] => data_directory::ledger_at(ledger),
            [..] => bail!("--ledger: give one; this is done with one ledger at a time"),
        }
    }

    /// All that are meant.
    fn logs(&self) -> anyhow::Result<Logs> {
        if self.ledger.is_empty() {
            return Ok(Logs::of(&[self.ledger()?]));
        }
        let directories = self.ledger.iter().map(|ledger| data_directory::ledger_at(ledger));
        Ok(Logs::of(&directories.collect::<anyhow::Result<Vec<_>>>()?))
    }

    /// That the ledger of a `--data` that is an argument is not read beside `--ledger`: who gives both may take it for one of them.
    fn warn_of_data(&self) {
        // What was kept of a call is read with the keys that are there.
        if matches!(&self.command, Command::Show(show) if show.payload) {
            return;
        }
        if self.ledger.is_empty() || given("--data") == 0 {
            return;
        }
        let Ok(own) = data_directory::ledger(&self.data) else { return };
        let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.ledger.iter().all(|ledger| place(ledger) != place(&own)) {
            let own = own.display();
            output::warning(&format!("with --ledger that of --data is not read; give --ledger {own} too"));
        }
    }

    /// The index of each of several, as one. They are only read.
    fn several(&self) -> anyhow::Result<Several> {
        ensure!(self.index.is_none(), "--index: several ledgers have one each, beside DATA/ledger; name one");
        let logs = self.logs()?;
        warn_of_repeated(&logs);
        let mut parts = Vec::new();
        for log in logs.all() {
            for directory in &log.directories {
                let index = index_beside(directory);
                parts.push((log.name.clone(), index::of_one(directory, index.as_deref())?));
            }
            // What went from one directory may be in another one of the same log.
            if let [directory] = log.directories.as_slice() {
                warned_of_pruned(directory, None);
            }
        }
        Ok(Several::of(parts)?)
    }

    /// The configurations that decided: an archive has those of its records, and a data directory has them beside its ledger.
    fn configurations(&self, ledger: &Path) -> PathBuf {
        let of_data = data_directory::configurations(&self.data);
        if self.ledger.is_empty() {
            return of_data;
        }
        let beside =
            ledger.parent().filter(|_| ledger.ends_with("ledger")).map(data_directory::configurations);
        let found = [Some(data_directory::archived_configurations(ledger)), beside];
        found.into_iter().flatten().find(|path| path.is_dir()).unwrap_or(of_data)
    }

    /// Shows a call of one ledger, with what stands beside that.
    fn show(&self, show: &show::Show, ledger: &Path, format: Format) -> anyhow::Result<ExitCode> {
        let configurations = self.configurations(ledger);
        show::run((&self.data, &configurations, ledger), &*self.lookup(ledger), show, format)
    }
}

/// That none of those that were given is left out: of a flag that may stand before the subcommand and behind it, the parser keeps what stands in one of
/// the two places. Where none is given, what it is without it is one.
pub(super) fn has_all(flag: &str, taken: usize) -> bool {
    let given = given(flag);
    given == 0 || given == taken
}

/// How often a flag is given as an argument.
fn given(flag: &str) -> usize {
    let words = std::env::args_os().take_while(|word| word != "--");
    let is_flag = |word: &OsString| {
        let rest = word.as_encoded_bytes().strip_prefix(flag.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    };
    words.filter(is_flag).count()
}

/// Where the index of a ledger is, where that is in a data directory.
fn index_beside(ledger: &Path) -> Option<PathBuf> {
    ledger.parent().filter(|_| ledger.ends_with("ledger")).map(vidimus_readmodel::directory)
}

pub fn run(audit: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    ensure!(
        has_all("--ledger", audit.ledger.len()),
        "--ledger: give all of them behind the subcommand, or all before it"
    );
    let ledger = || audit.ledger();
    let are_several = audit.ledger.len() > 1;
    let index = audit.index();
    let index = index.as_deref();
    if let Some(remote) = audit.at.open()? {
        return run_remote(audit, remote, format);
    }
    audit.warn_of_data();
    match &audit.command {
        Command::Search(search) if are_several => {
            search::run_logs(&audit.logs()?, &|ledger| audit.lookup(ledger), search, format)
        }
        Command::Search(search) => search::run(&ledger()?, index, search, format),
        Command::Stats(stats) if are_several => stats::run_logs(&audit.several()?, stats, format),
        Command::Stats(stats) => stats::run(&ledger()?, index, stats, format),
        Command::Sql(Sql { query: None, .. }) => sql::run_tables(are_several, format),
        Command::Sql(sql) if are_several => sql::run_logs(&audit.several()?, sql, format),
        Command::Sql(sql) => sql::run(&ledger()?, index, sql, format),
        Command::Index(it) => index::run(&ledger()?, index, it, format),
        Command::Show(show) if are_several && (show.payload || show.change) => {
            bail!("--payload, --change: give one --ledger, or one --data: each has keys and texts of its own")
        }
        Command::Show(show) if are_several || show.chain => {
            show::run_logs(&audit.logs()?, &|ledger| audit.lookup(ledger), show, format)
        }
        Command::Show(show) => audit.show(show, &ledger()?, format),
        Command::Export(export) if are_several => {
            let beside = |ledger: &Path| (audit.configurations(ledger), audit.lookup(ledger));
            export::run_logs(&audit.logs()?, beside, export, format)
        }
        Command::Export(export) => {
            let ledger = ledger()?;
            export::run((&audit.configurations(&ledger), &*audit.lookup(&ledger)), &ledger, export, format)
        }
        Command::Evidence(evidence) if are_several => evidence::run_logs(&audit.logs()?, evidence, format),
        Command::Evidence(evidence) => evidence::run(&ledger()?, evidence, format),
        Command::Fsck(fsck::Fsck {}) => {
            let beside = audit.ledger.is_empty().then_some(audit.data.as_path());
            fsck::run(beside, &ledger()?, format)
        }
        Command::Prune(prune) => {
            ensure!(
                audit.ledger.is_empty(),
                "--ledger: what stands by acts is beside a ledger; give its --data"
            );
            prune::run(&audit.data, &ledger()?, prune, format)
        }
        Command::Archive(asked) => archive::run(asked, format),
        Command::RotateKey(asked) => {
            ensure!(audit.ledger.is_empty(), "--ledger: nobody writes there; give the --data of a gateway");
            rotate_key::run(&audit.data, &ledger()?, asked, format)
        }
        Command::Shred(asked) => {
            ensure!(
                audit.ledger.is_empty(),
                "--ledger: keys are beside no archive; give the --data of a gateway"
            );
            shred::run(&audit.data, asked, format)
        }
        Command::Verify(verify) if verify.files().is_empty() => {
            let may_be_archives = !audit.ledger.is_empty();
            if are_several || verify.is_of_several() {
                return verify::run_logs(&audit.logs()?, may_be_archives, verify, format);
            }
            verify::run(&ledger()?, may_be_archives, verify, format)
        }
        Command::Verify(verify) => verify::run_evidence(verify, format),
        Command::Checkpoints(checkpoints) => checkpoints::run(&audit.logs()?, checkpoints, format),
        Command::Logs(of_time) => logs::run(&audit.logs()?, of_time, format),
        Command::Prove(prove) => show::run_prove(prove, format),
    }
}

/// The same, of a ClickHouse.
fn run_remote(audit: &Audit, remote: clickhouse::Remote, format: Format) -> anyhow::Result<ExitCode> {
    match &audit.command {
        Command::Search(search) => search::run_remote(&remote, search, format),
        Command::Stats(stats) => stats::run_remote(&remote, stats, format),
        Command::Sql(Sql { query: None, .. }) => sql::run_tables(true, format),
        Command::Sql(sql) => sql::run_remote(&remote, sql, format),
        Command::Index(it) => index::run_remote(remote, &audit.ledger()?, it, format),
        _ => bail!("--clickhouse is for search, stats, sql and index; what is proven, the ledger tells"),
    }
}

/// The key that `--key` gives.
fn key(text: &str) -> anyhow::Result<VerifierKey> {
    let key = text.trim().parse::<VerifierKey>();
    key.context(
        "--key is not the ledger's public key, which stands in DATA/ledger/keys/checkpoint.vkey, with the keys that it followed on further lines",
    )
}

/// What was named more than once, by whatever path, is read once.
fn warn_of_repeated(logs: &Logs) {
    for directory in logs.repeated() {
        output::warning(&format!("--ledger {} was named before, and is read once", directory.display()));
    }
}

/// As [`warn_of_pruned`], of one of several; whether that could be told.
fn warned_of_pruned(dir: &Path, since: Option<jiff::Timestamp>) -> bool {
    let told = warn_of_pruned(dir, since);
    if let Err(error) = &told {
        output::warning(&format!("{}: {error:#}", dir.display()));
    }
    told.is_ok()
}

/// Of a time in which no gateway was running there is no call, and that is not because nobody wanted to call. To be told where nothing was found of a
/// time that was asked for.
fn warn_of_away(
    dir: &Path,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
) -> anyhow::Result<()> {
    if since.is_none() && until.is_none() {
        return Ok(());
    }
    for away in vidimus_query::audit::logs::away_within(dir, since, until)? {
        output::warning(&format!("the gateway: {}; `vidimus audit logs` tells more", logs::away_text(&away)));
    }
    Ok(())
}

/// What is not there any more of a log that is searched, where that was asked for: no record of before is found, and that is not because nothing
/// happened.
fn warn_of_pruned(dir: &Path, since: Option<jiff::Timestamp>) -> anyhow::Result<()> {
    let Some(pruned) = vidimus_ledger::pruned(dir)? else { return Ok(()) };
    if pruned.may_have_any_since(since) {
        output::warning(&format!("{pruned}; they are not searched"));
    }
    Ok(())
}
