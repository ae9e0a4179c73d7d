use std::collections::BTreeMap;
use std::fs;

use vidimus_core::snapshot::Snapshot;
use vidimus_ledger::{WitnessKey, Witnesses};

use super::*;
use crate::recordings::{Made, Recordings, limited};

fn world(limit: usize) -> std::sync::Arc<Snapshot> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), limited(limit)).expect("written");
    let loaded = vidimus_registry::load(directory.path());
    assert!(loaded.rejections.is_empty(), "{:#?}", loaded.rejections);
    loaded.snapshot
}

/// A log of 40 calls under two configurations.
fn recorded() -> Recordings {
    let mut recordings = Recordings::begin();
    for limit in [10, 20] {
        let world = world(limit);
        recordings.keep(&world);
        for amount in 0..20 {
            let args = format!("{{\"amount\": {amount}, \"to\": \"q\\\"\\u00e9\"}}");
            let resource = if amount % 2 == 0 { "Tool/a/bank/pay" } else { "Tool/a/bank/look" };
            recordings.call(&world, Made { args: &args, ..Made::by("Agent/a/bot", resource) });
        }
    }
    recordings.end();
    recordings
}

fn question(members: Value) -> ExportQuestion {
    let asked = EvidenceAsked::Search(serde_json::from_value(members).expect("a question"));
    let exported = Exported { at: "2026-11-27T12:00:00Z".into(), by: "ada".into() };
    ExportQuestion { asked, since_checkpoints: Vec::new(), cosigned: false, exported }
}

fn exported(recordings: &Recordings, question: &ExportQuestion) -> (Vec<u8>, ExportAnswer) {
    let mut file = Vec::new();
    let answer = export(&recordings.ledger(), &recordings.archive(), question, &mut file).expect("exported");
    (file, answer)
}

fn verified(file: &[u8]) -> EvidenceReport {
    verify(file, &VerifyOptions::default()).expect("read")
}

fn lines(file: &[u8]) -> Vec<String> {
    String::from_utf8(file.to_vec()).expect("text").lines().map(str::to_owned).collect()
}

/// The file of these lines, whose end says what they are.
fn resealed(lines: &[String]) -> Vec<u8> {
    let mut lines = lines.to_vec();
    let mut end: Value = serde_json::from_str(&lines.pop().expect("an end")).expect("JSON");
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let records = lines.iter().filter(|line| line.starts_with("{\"record\":")).count();
    end["end"] = serde_json::json!({"records": records, "sha256": sha256(text.as_bytes())});
    format!("{text}{}\n", canonical(end)).into_bytes()
}

#[test]
fn evidence_is_believed_and_the_same_question_makes_the_same() {
    let recordings = recorded();
    for (members, records, gapless, configurations) in [
        (serde_json::json!({}), 40, true, 2),
        (serde_json::json!({"resource": "pay", "outcome": "allow"}), 16, false, 2),
        (serde_json::json!({"outcome": "deny"}), 9, true, 1),
        (serde_json::json!({"principal": "a/nobody"}), 0, false, 0),
    ] {
        let (file, answer) = exported(&recordings, &question(members.clone()));
        assert_eq!((answer.records, answer.size, answer.younger), (records, 40, 0), "{members}");
        assert_eq!((answer.missing.len(), &answer.damage[..]), (0, &[][..]), "{members}");
        assert_eq!(exported(&recordings, &question(members.clone())).0, file, "{members}");
        let report = verified(&file);
        assert!(report.proven && !report.key_given, "{members}: {report:#?}");
        assert_eq!(
            (report.records, report.gapless, report.configurations),
            (records, gapless, configurations),
            "{members}"
        );
        assert_eq!(report.exported.map(|exported| exported.by), Some("ada".to_owned()));
        assert_eq!(resealed(&lines(&file)), file, "{members}");
        // Every record stands in it as in the log.
        let kept = lines(&file).iter().filter(|line| line.starts_with("{\"action\":")).count();
        assert_eq!(kept as u64, records, "{members}");
    }
}

/// What was exported before another key followed is believed by who has that one with those that it followed, and by nobody else's.
#[test]
fn evidence_of_a_former_key_is_believed_by_the_key_that_followed() {
    let recordings = recorded();
    let (file, _) = exported(&recordings, &question(serde_json::json!({"outcome": "deny"})));
    let former = vidimus_ledger::known_key(&recordings.ledger()).expect("a key");
    let config = vidimus_ledger::Config { dir: recordings.ledger(), ..vidimus_ledger::Config::default() };
    let ledger = vidimus_ledger::Ledger::open(config).expect("opened");
    let time = "2026-11-28T00:00:00.000000Z";
    let by = vidimus_ledger::ActBy { actor: "User/local#ada", id: "k", time, why: "yearly" };
    ledger.rotate_key("2026-01-01T00:00:00Z".parse().expect("a time"), &by).expect("rotated");
    drop(ledger);
    let key = vidimus_ledger::known_key(&recordings.ledger()).expect("a key");
    let by = |key: &str| {
        let key = Some(key.parse().expect("a key"));
        verify(&*file, &VerifyOptions { key, ..VerifyOptions::default() }).expect("read").proven
    };
    assert!(by(&key.with_former()) && by(&former.to_string()));
    assert!(!by(&key.to_string()), "it does not know what it followed");
    // Of more records than both signed for a former key says nothing.
    assert!(!by(&format!("{key}\n{former} until 39")));
}

#[test]
fn no_byte_of_it_can_be_changed() {
    let recordings = recorded();
    let (file, _) =
        exported(&recordings, &question(serde_json::json!({"resource": "pay", "outcome": "deny"})));
    for at in 0..file.len() {
        let mut bent = file.clone();
        bent[at] ^= 1 << (at % 7);
        let report = verified(&bent);
        assert!(!report.proven, "byte {at}: {report:#?}");
    }
    for length in (0..file.len()).step_by(7) {
        assert!(!verified(&file[..length]).proven, "{length}");
    }
    assert!(!verified(&[&file[..], b"\n"].concat()).proven);
}

/// The lines in which `bend` is done to the texts of objects and to how lists name them, and all digests are made right again but that
/// in the records.
fn forged(lines: &[String], bend: impl Fn(&str) -> (String, bool)) -> Vec<String> {
    let json = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let begin = lines.iter().position(|line| line.starts_with("{\"object\"")).expect("an object");
    let (mut objects, mut lists, mut configurations) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut names = BTreeMap::new();
    let mut rest = lines[begin..lines.len() - 1].iter();
    while let Some(line) = rest.next() {
        let mut value = json(line);
        if let Some(of) = value.get("object") {
            let (text, quarantined) = bend(rest.next().expect("a text"));
            let name = sha256(text.as_bytes());
            let listed = format!("{name}{}", if quarantined { QUARANTINED } else { "" });
            names.insert(of["sha256"].as_str().expect("text").to_owned(), listed);
            objects.insert(name, text);
        } else if let Some(list) = value.get("list") {
            let old = |name: &Value| names[name.as_str().expect("text")].clone();
            let all: Vec<String> = list["objects"].as_array().expect("all").iter().map(old).collect();
            let name = sha256(list_text(&all).as_bytes());
            names.insert(list["sha256"].as_str().expect("text").to_owned(), name.clone());
            lists.insert(
                name.clone(),
                canonical(serde_json::json!({"list": {"objects": all, "sha256": name}})),
            );
        } else {
            for list in value["configuration"]["lists"].as_array_mut().expect("lists") {
                *list = names[list.as_str().expect("text")].clone().into();
            }
            configurations.push(canonical(value));
        }
    }
    let objects = objects
        .into_iter()
        .flat_map(|(name, text)| [canonical(serde_json::json!({"object": {"sha256": name}})), text]);
    let end = lines.last().cloned();
    lines[..begin]
        .iter()
        .cloned()
        .chain(objects)
        .chain(lists.into_values())
        .chain(configurations)
        .chain(end)
        .collect()
}

/// Whoever makes the digests in the file right again changes nothing that the log says.
#[test]
fn what_is_proven_cannot_be_changed_whatever_the_end_says() {
    let recordings = recorded();
    let (file, _) = exported(&recordings, &question(serde_json::json!({})));
    let whole = lines(&file);
    let at = |begins: &str, number: usize| {
        let mut found = whole.iter().enumerate().filter(|(_, line)| line.starts_with(begins));
        found.nth(number).map(|(at, _)| at).unwrap_or_else(|| panic!("{begins}"))
    };
    let (record, configuration) = (at("{\"record\"", 7), at("{\"configuration\"", 0));
    let policy = whole.iter().position(|line| line.contains("<= 10}")).expect("a policy");
    let refused = |says: &str, change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        let report = verified(&resealed(&lines));
        let found = report.findings.first().unwrap_or_else(|| panic!("{says}: believed"));
        assert!(found.what.contains(says), "{says}: {report:#?}");
        found.line as usize - 1
    };
    assert_eq!(forged(&whole, |text| (text.to_owned(), false)), whole);
    let line =
        refused("not record 7", &|lines| lines[record + 1] = lines[record + 1].replace("Tool/", "Pool/"));
    assert_eq!(line, record + 1);
    refused("not record 7", &|lines| lines.swap(record + 1, record + 3));
    refused("not in the order", &|lines| {
        lines.swap(record, record + 2);
        lines.swap(record + 1, record + 3);
    });
    refused("not in the order", &|lines| lines[record] = lines[record].replace("\"index\":7", "\"index\":6"));
    refused("not record 39", &|lines| {
        let last = at("{\"record\"", 39);
        lines[last] = lines[last]
            .replace("\"proof\":[", "\"proof\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",");
    });
    let changed = |text: &str| (text.replace("<= 10}", "<= 99}"), false);
    assert_eq!(
        refused("not the text of the object", &|lines| lines[policy] = changed(&lines[policy]).0),
        policy
    );
    refused("not the texts of the configuration", &|lines| *lines = forged(lines, changed));
    refused("not the texts of the configuration", &|lines| {
        *lines = forged(lines, |text| (text.to_owned(), text.contains("\"Agent\"")));
    });
    refused("of which the file says nothing", &|lines| drop(lines.remove(configuration)));
    refused("no record names", &|lines| {
        lines[configuration] = lines[configuration].replace("\"sha256:", "\"sha256:0");
    });
    refused("neither in the file nor missing", &|lines| {
        lines[configuration] = format!("{{\"configuration\":{{\"snapshot\":\"{}\"}}}}", world(10).digest());
    });
    // What can be read as the same, and is written otherwise.
    refused("a line of evidence", &|lines| {
        lines[configuration] =
            lines[configuration].replace(",\"snapshot\"", ",\"missing\":null,\"snapshot\"");
    });
    refused("a line of evidence", &|lines| {
        let members = lines[record].replace("{\"index\":7,\"proof\":", "[7,").replace(",\"shared\":", ",");
        lines[record] = members.replace("}}", "]}");
    });
    refused("not of the form", &|lines| {
        lines[configuration] = lines[configuration].replace("\"version\":1", "\"version\":2");
    });
    refused("not of the form", &|lines| {
        let policy = r#""standing":{"key":"","policies":{"a/p#0":"permit (principal, action, resource);"}},"version":1"#;
        lines[configuration] = lines[configuration].replace("\"version\":1", policy);
    });
    refused("not record 9007199254740991", &|lines| {
        lines[record] = lines[record].replace("\"index\":7", "\"index\":9007199254740991");
    });
    // What readers of JSON read or write differently, or not at all.
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for odd in ["1.0", "1.5", "1e-7", "1e21", "-0.0", "9007199254740992", "18446744073709551615", &*deep] {
        refused("not canonical JSON", &|lines| {
            lines[0] = lines[0].replacen("\"asked\":{", &format!("\"asked\":{{\"a\":{odd},"), 1);
        });
    }
    refused("names a list that is not in the file", &|lines| lines.swap(configuration, at("{\"list\"", 0)));
    refused("is of no configuration", &|lines| {
        let text = "{\"more\":1}".to_owned();
        let first = at("{\"object\"", 0);
        let names: Vec<String> = (0..).map(|n| format!("{{\"more\":{n}}}")).take(64).collect();
        let first_name = sha256(lines[first + 1].as_bytes());
        let text = names.into_iter().find(|text| sha256(text.as_bytes()) < first_name).unwrap_or(text);
        lines.insert(first, text.clone());
        lines.insert(first, canonical(serde_json::json!({"object": {"sha256": sha256(text.as_bytes())}})));
    });
}

#[test]
fn it_shows_that_the_log_continues_what_was_signed_before_and_names_the_key_that_was_believed() {
    let (recordings, others) = (recorded(), recorded());
    let ledger = recordings.ledger();
    let history = fs::read_to_string(ledger.join("checkpoints")).expect("read");
    let signed = history.split_inclusive("\n\n").collect::<Vec<_>>();
    // A note has a blank line in it, and one after it.
    let oldest = signed.chunks(2).next().map(|note| note.concat().trim_end().to_owned() + "\n").expect("one");
    let latest = fs::read_to_string(ledger.join("checkpoint")).expect("read");
    let key = fs::read_to_string(ledger.join("keys/checkpoint.vkey")).expect("read");
    let since = [oldest.clone(), latest.clone()].to_vec();
    let (file, _) = exported(
        &recordings,
        &ExportQuestion { since_checkpoints: since, ..question(serde_json::json!({})) },
    );
    let options = |key: &str, checkpoints: &[&String]| VerifyOptions {
        key: Some(key.trim().parse().expect("a key")),
        checkpoints: checkpoints.iter().map(|note| (*note).clone()).collect(),
        ..VerifyOptions::default()
    };
    let report = verify(&file[..], &options(&key, &[&oldest, &latest])).expect("read");
    assert!(report.proven && report.key_given, "{report:#?}");
    assert_eq!(report.continues, [0, 40]);

    let other_key = fs::read_to_string(others.ledger().join("keys/checkpoint.vkey")).expect("read");
    let report = verify(&file[..], &options(&other_key, &[])).expect("read");
    assert!(!report.proven && report.findings[0].what.contains("not of that with"), "{report:#?}");
    let (without, _) = exported(&recordings, &question(serde_json::json!({})));
    let report = verify(&without[..], &options(&key, &[&oldest])).expect("read");
    assert!(!report.proven && report.findings[0].what.contains("--since-checkpoint"), "{report:#?}");
    let theirs = fs::read_to_string(others.ledger().join("checkpoint")).expect("read");
    let asked = ExportQuestion { since_checkpoints: vec![theirs], ..question(serde_json::json!({})) };
    let error = export(&ledger, &recordings.archive(), &asked, Vec::new()).expect_err("refused").to_string();
    assert!(error.contains("older checkpoint 1 is not one of this log"), "{error}");
}

#[test]
fn what_is_not_kept_or_not_proven_yet_is_said() {
    let mut recordings = Recordings::begin();
    let (kept, lost) = (world(10), world(20));
    recordings.keep(&kept);
    recordings.call(&kept, Made::by("Agent/a/bot", "Tool/a/bank/pay"));
    recordings.call(&lost, Made::by("Agent/a/bot", "Tool/a/bank/pay"));
    recordings.end();
    let (file, answer) = exported(&recordings, &question(serde_json::json!({})));
    assert_eq!(answer.missing.keys().collect::<Vec<_>>(), [lost.digest()]);
    let report = verified(&file);
    assert!(report.proven, "{report:#?}");
    assert_eq!((report.configurations, report.missing), (1, answer.missing));
    // A call by its id, and nothing else.
    let asked = EvidenceAsked::Show(ShowQuestion { id: "call-2".to_owned() });
    let (file, answer) = exported(&recordings, &ExportQuestion { asked, ..question(serde_json::json!({})) });
    let report = verified(&file);
    assert_eq!((report.proven, report.first, answer.records), (true, Some(1), 1), "{report:#?}");
    // As a process leaves it that is killed before it signs: the records are there, and nothing proves them.
    let ledger = recordings.ledger();
    let history = fs::read_to_string(ledger.join("checkpoints")).expect("read");
    let first: Vec<&str> = history.split_inclusive("\n\n").take(2).collect();
    fs::write(ledger.join("checkpoint"), first.concat().trim_end().to_owned() + "\n").expect("written");
    let (file, answer) = exported(&recordings, &question(serde_json::json!({})));
    assert_eq!((answer.size, answer.records, answer.younger), (0, 0, 2));
    assert!(verified(&file).proven);
}

/// docs/ledger-format.md: its example is what is written and believed.
#[test]
fn the_example_of_the_page_is_evidence() {
    const PAGE: &str = include_str!("../../../../../docs/ledger-format.md");
    let block = |kind: &str| {
        let (_, rest) = PAGE.split_once(&format!("```text {kind}\n")).expect(kind);
        rest.split_once("```").expect(kind).0
    };
    let file = block("evidence");
    let report = verified(file.as_bytes());
    assert!(report.proven, "{report:#?}");
    assert_eq!((report.records, report.size, &report.continues[..]), (2, 3, &[0][..]));
    // The log of the page, and the texts of the configuration, which are all in the file.
    let data = tempfile::tempdir().expect("a directory");
    let write = |path: String, bytes: &[u8]| {
        let path = data.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, bytes).expect("written");
    };
    let digits: Vec<u32> = block("segment").chars().filter_map(|digit| digit.to_digit(16)).collect();
    let segment: Vec<u8> =
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("a byte")).collect();
    write("ledger/segments/00000000000000000000.log".to_owned(), &segment);
    write("ledger/keys/checkpoint.vkey".to_owned(), block("key").as_bytes());
    let history = block("checkpoints");
    let (older, latest) = history
        .trim_end()
        .split_once("\n\nexample")
        .map(|(older, note)| (format!("{older}\n"), format!("example{note}\n")))
        .expect("two");
    write("ledger/checkpoint".to_owned(), latest.as_bytes());
    let lines = lines(file.as_bytes());
    let mut texts: Vec<String> = lines
        .iter()
        .zip(lines.iter().skip(1))
        .filter(|(line, _)| line.starts_with("{\"object\""))
        .map(|(_, text)| text.clone())
        .collect();
    let list: String = texts.iter().map(|text| format!("{}\n", sha256(text.as_bytes()))).collect();
    texts.push(list.clone());
    for text in &texts {
        let name = sha256(text.as_bytes());
        let (first, _) = name.split_at(2);
        write(format!("configurations/objects/{first}/{name}"), text.as_bytes());
    }
    let decision: Value = serde_json::from_str(&lines[3]).expect("JSON");
    let snapshot = decision["snapshot"].as_str().expect("a digest");
    let manifest = serde_json::json!({
        "version": 2, "snapshot": snapshot, "madeBy": "the page", "lists": [sha256(list.as_bytes())],
        "beside": {"version": 1, "refusing": [], "withdrawn": {}, "closed": false},
    });
    let name = snapshot.trim_start_matches("sha256:");
    write(format!("configurations/{name}"), manifest.to_string().as_bytes());
    let asked = EvidenceAsked::Show(ShowQuestion { id: "call-1".to_owned() });
    let exported = Exported { at: "2026-11-27T12:00:02Z".to_owned(), by: "ada".to_owned() };
    let question = ExportQuestion { asked, since_checkpoints: vec![older], cosigned: false, exported };
    let archive = vidimus_registry::configurations::Archive::at(&data.path().join("configurations"));
    let mut written = Vec::new();
    export(&data.path().join("ledger"), &archive, &question, &mut written).expect("exported");
    assert_eq!(String::from_utf8(written).expect("text"), file);
}

/// Of the log's checkpoint, with the line of a witness (`ledger/src/cosignature/tests.rs` has the form).
struct Witness(aws_lc_rs::signature::Ed25519KeyPair);

impl Witness {
    fn new() -> Self {
        Self(aws_lc_rs::signature::Ed25519KeyPair::generate().expect("a key"))
    }

    fn public(&self) -> Vec<u8> {
        use aws_lc_rs::signature::KeyPair as _;
        [&[4], self.0.public_key().as_ref()].concat()
    }

    fn id(&self) -> String {
        let digest = sha256(&[&b"w.example/1\n"[..], &self.public()].concat());
        digest.get(..8).expect("digits").to_owned()
    }

    fn key(&self) -> WitnessKey {
        format!("w.example/1+{}+{}", self.id(), STANDARD.encode(self.public())).parse().expect("a key")
    }

    fn cosign(&self, note: &str) -> String {
        let text = format!("{}\n", note.split("\n\n").next().expect("a note"));
        let signature = self.0.sign(format!("cosignature/v1\ntime 1700000000\n{text}").as_bytes());
        let id = u32::from_str_radix(&self.id(), 16).expect("hex").to_be_bytes();
        let bytes = [&id, &1_700_000_000_u64.to_be_bytes()[..], signature.as_ref()].concat();
        format!("{note}— w.example/1 {}\n", STANDARD.encode(bytes))
    }
}

#[test]
fn it_takes_cosignatures_along_and_whoever_asks_for_witnesses_believes_no_file_without() {
    let (recordings, one, other) = (recorded(), Witness::new(), Witness::new());
    let ledger = recordings.ledger();
    let demand = |keys: &[&Witness], quorum| VerifyOptions {
        witnesses: Witnesses::new(keys.iter().map(|witness| witness.key()), Some(quorum)),
        ..VerifyOptions::default()
    };
    let said = |file: &[u8], options: &VerifyOptions| verify(file, options).expect("read");
    let (without, answer) = exported(&recordings, &question(serde_json::json!({})));
    assert!(answer.witnesses.is_empty());
    let report = said(&without, &demand(&[&one], 1));
    assert!(!report.proven && report.findings[0].what.starts_with("0 of the witnesses"), "{report:#?}");
    let asked = ExportQuestion { cosigned: true, ..question(serde_json::json!({})) };
    let error = export(&ledger, &recordings.archive(), &asked, Vec::new()).expect_err("none").to_string();
    assert!(error.contains("no witnesses have cosigned"), "{error}");

    let note = fs::read_to_string(ledger.join("checkpoint")).expect("read");
    fs::write(ledger.join("cosigned"), one.cosign(&note)).expect("written");
    let (file, answer) = exported(&recordings, &asked);
    assert_eq!((answer.size, answer.witnesses), (40, vec!["w.example/1".to_owned()]));
    // The newest checkpoint is the cosigned one.
    assert_eq!(exported(&recordings, &question(serde_json::json!({}))).0, file);
    let report = said(&file, &demand(&[&one], 1));
    assert!(report.proven, "{report:#?}");
    let by = EvidenceCosigned { witness: "w.example/1".to_owned(), time: 1_700_000_000 };
    assert_eq!(report.cosigned, [by]);
    assert!(said(&file, &demand(&[&one, &other], 1)).proven && verified(&file).proven);
    for (witnesses, quorum) in [(&[&one, &other][..], 2), (&[&other][..], 1), (&[&one, &one][..], 2)] {
        let report = said(&file, &demand(witnesses, quorum));
        assert!(
            !report.proven && report.findings[0].what.contains("of the witnesses cosigned"),
            "{report:#?}"
        );
    }
    // That witnesses are behind is no word that the log was put back.
    let history = fs::read_to_string(ledger.join("checkpoints")).expect("read");
    let oldest: String = history.split_inclusive("\n\n").take(2).collect();
    let oldest = format!("{}\n", oldest.trim_end());
    fs::write(ledger.join("cosigned"), one.cosign(&oldest)).expect("written");
    let later = ExportQuestion { since_checkpoints: vec![note], ..asked.clone() };
    let error = export(&ledger, &recordings.archive(), &later, Vec::new()).expect_err("behind").to_string();
    assert!(error.contains("cosigned is of 0 records") && error.contains("1 of 40"), "{error}");
    assert!(!error.contains("rolled back"), "{error}");

    // The line of the witness, bent in each of its characters, the end of the file made right again.
    let head = lines(&file);
    let begin = head[0].find("— w.example/1 ").expect("its line");
    let rest = head[0].get(begin..).expect("a boundary");
    let end = rest.find("\\n").map(|length| begin + length).expect("its end");
    for at in (begin + "— w.example/1 ".len()..end).step_by(3) {
        let mut bent = head.clone();
        let old = bent[0].as_bytes()[at];
        bent[0].replace_range(at..=at, if old == b'A' { "B" } else { "A" });
        assert!(!said(&resealed(&bent), &demand(&[&one], 1)).proven, "{at}");
    }
}
