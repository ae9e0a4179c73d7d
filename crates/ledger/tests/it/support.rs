//! Logs to test with.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vidimus_core::record::{
    DecisionKind, DecisionRecord, EffectKind, EffectRecord, Record, RefusalKind, RefusalRecord,
};
use vidimus_ledger::{ActBy, Config, Ledger, Options, Report, Retention, verify};

/// A log in `dir` that signs a checkpoint when it is closed and not before.
pub(crate) fn config(dir: &Path) -> Config {
    let hour = Duration::from_secs(3600);
    Config {
        dir: dir.to_owned(),
        origin: Some("test.example/log".to_owned()),
        checkpoint_interval: hour,
        ..Config::default()
    }
}

/// All that may go at all.
pub(crate) fn kept_long_enough<'a>() -> Retention<'a> {
    let before = "2026-11-22T00:00:00Z".parse().expect("a time");
    Retention { before, stands: u64::MAX, witnessed: false, archive: None, new_archive: false }
}

/// Who prunes.
pub(crate) const BY: ActBy<'_> = ActBy {
    actor: "User/local#ada",
    id: "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
    time: "2026-11-28T00:00:00.000000Z",
    why: "policy 4.2",
};

/// What of a decision the tests care about.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) agent: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) user: Option<&'static str>,
    pub(crate) outcome: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) transaction: &'static str,
    pub(crate) second: u32,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            id: "call-0".to_owned(),
            agent: "Agent/finance/invoice-bot",
            resource: "Tool/finance/ledger/get_invoice",
            user: Some("https://login.example.com#alice"),
            outcome: "allow",
            policy: "finance/finance-read",
            transaction: "txn-1",
            second: 0,
        }
    }
}

pub(crate) fn time(second: u32) -> String {
    let (day, second) = (21 + second / 86_400, second % 86_400);
    format!("2026-11-{day}T{:02}:{:02}:{:02}.000000Z", 8 + second / 3_600, second / 60 % 60, second % 60)
}

/// Records a decision; its index.
pub(crate) async fn decide(ledger: &Ledger, asked: &Asked) -> u64 {
    let policies = [Arc::from(asked.policy)];
    let facts = [(Arc::from("principal.risk_level"), Arc::from("low"))];
    let record = Record::Decision(DecisionRecord {
        action: "invokeTool".into(),
        alternatives: Vec::new(),
        asked_by: None,
        body: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
        chain: Vec::new(),
        closest_permits: Cow::Borrowed(&[]),
        code: (asked.outcome == "deny").then(|| "no_permit".into()),
        config_age: None,
        config_reason: None,
        config_source: None,
        depth: 1,
        facts: Cow::Borrowed(&facts),
        id: (&*asked.id).into(),
        identity: "spiffe://corp.example/ns/finance/sa/invoice-bot".into(),
        instance: None,
        kept: None,
        kind: DecisionKind,
        labels: Vec::new(),
        method: "tools/call".into(),
        not_tried: Vec::new(),
        obligations: Vec::new(),
        observed: Vec::new(),
        approval: None,
        on_account_of: None,
        outcome: asked.outcome.into(),
        parent: None,
        policies: Cow::Borrowed(&policies),
        principal: asked.agent.into(),
        protocol: "mcp".into(),
        push_url: None,
        reserved_spend: None,
        reserved_tokens: None,
        resource: asked.resource.into(),
        snapshot: "sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b".into(),
        source: Some("10.0.0.7".into()),
        task: None,
        time: time(asked.second).into(),
        trace: "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".into(),
        transaction: asked.transaction.into(),
        user: asked.user.map(Into::into),
        version: 1,
        via: None,
        would_refuse: None,
    });
    ledger.record(&record).await.expect("recorded")
}

pub(crate) fn effect(id: &str, decision: u64, second: u32) -> EffectRecord<'_> {
    EffectRecord {
        attempts: Vec::new(),
        bytes_in: 120,
        changed: None,
        bytes_out: 4096,
        charged_spend: None,
        charged_tokens: None,
        code: None,
        decision,
        detail: None,
        duration_us: 1234,
        id: id.into(),
        job: None,
        kept: None,
        kind: EffectKind,
        result: "ok".into(),
        status: 200,
        task: None,
        time: time(second).into(),
        time_per_output_token_us: None,
        time_to_first_token_us: None,
        token: None,
        tokens_cache_written: None,
        tokens_input: None,
        tokens_input_cached: None,
        tokens_output: None,
        tokens_reasoning: None,
        version: 1,
    }
}

/// A record with `text` in it.
pub(crate) fn refusal(text: &str) -> Record<'_> {
    Record::Refusal(RefusalRecord {
        asked: None,
        chain: Vec::new(),
        code: "token_expired".into(),
        detail: None,
        id: text.into(),
        identity: None,
        instance: None,
        kind: RefusalKind,
        message: "the token has expired".into(),
        outcome: "deny".into(),
        parent: None,
        path: "/mcp/finance/ledger".into(),
        principal: None,
        source: None,
        time: time(0).into(),
        trace: "".into(),
        user: None,
        version: 1,
    })
}

/// Appends records `n-<index>` and closes; the log then has `count` more records and a checkpoint of all.
pub(crate) async fn grow(config: Config, count: u64) -> Ledger {
    let ledger = Ledger::open(config).expect("opened");
    let size = ledger.size();
    for index in size..size + count {
        let id = format!("n-{index}");
        assert_eq!(ledger.record(&refusal(&id)).await.expect("recorded"), index);
    }
    ledger.close().await;
    ledger
}

/// The report on a log, checked against nothing but itself.
pub(crate) fn report(dir: &Path) -> Report {
    verify(dir, &Options::default()).expect("verified")
}

/// Asserts that a log of `records` is whole and all of it signed for.
pub(crate) fn assert_whole(dir: &Path, records: u64) {
    let report = report(dir);
    assert!(report.intact(), "{:?}", report.findings);
    assert_eq!((report.records, report.confirmed), (records, records), "{report:?}");
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir.join("segments"))
        .expect("listed")
        .map(|entry| entry.expect("entry").path())
        .collect();
    paths.sort();
    paths
}

/// All files below `dir`, in order.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

/// The length of a seal.
pub(crate) const SEAL: usize = 48;

/// The header of a segment, its frames and its seals, in order.
pub(crate) fn items(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![bytes[..24].to_vec()];
    let mut at = 24;
    while at < bytes.len() {
        let seal = bytes[at..].starts_with(b"SEAL");
        let length = if seal { SEAL } else { 20 + usize::from(bytes[at]) + 256 * usize::from(bytes[at + 1]) };
        items.push(bytes[at..at + length].to_vec());
        at += length;
    }
    items
}

/// Takes away what the end of the log says was signed for last: what a process that is killed in that moment had not said yet.
pub(crate) fn unsign(dir: &Path) {
    let path = segments(dir).pop().expect("a segment");
    let mut items = items(&std::fs::read(&path).expect("read"));
    assert!(items.pop().expect("an item").starts_with(b"SEAL"));
    assert!(items.last().expect("an item").starts_with(b"SEAL"), "the last records keep their own");
    std::fs::write(path, items.concat()).expect("written");
}

/// A checksum made right again: the work of somebody who knows the format.
pub(crate) fn summed(item: &mut [u8]) {
    let covered = match item.starts_with(b"SEAL") {
        true => item[8..].to_vec(),
        false => [&item[20..], &item[..4], &item[8..20]].concat(),
    };
    item[4..8].copy_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
}

/// A log whose checkpoint covers `signed` records and that has `more` after it, as a killed process leaves it.
pub(crate) async fn killed(dir: &Path, signed: u64, more: u64) {
    grow(config(dir), signed).await;
    let (checkpoint, history) = (dir.join("checkpoint"), dir.join("checkpoints"));
    let kept = [&checkpoint, &history].map(|path| std::fs::read(path).expect("read"));
    grow(config(dir), more).await;
    unsign(dir);
    std::fs::write(checkpoint, &kept[0]).expect("written");
    std::fs::write(history, &kept[1]).expect("written");
}

/// Makes of a log one that version 1 wrote: without seals.
pub(crate) fn as_version_1(dir: &Path) {
    for path in segments(dir) {
        let mut items = items(&std::fs::read(&path).expect("read"));
        items.retain(|item| !item.starts_with(b"SEAL"));
        items[0][7] = 1;
        let checksum = crc32c::crc32c(&items[0][..20]).to_le_bytes();
        items[0][20..].copy_from_slice(&checksum);
        std::fs::write(path, items.concat()).expect("written");
    }
}
