use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use vidimus_core::record::{Record, RefusalKind, RefusalRecord};
use vidimus_ledger::{Checkpoint, Config};
use vidimus_testkit::upstream::{Answer, Received, Upstream};

use super::*;
use crate::vitals::Vitals;

const TEXT: &str = "text/plain";

/// What a witness answers that does not do what it should.
type Lie = Box<dyn Fn(&Received) -> Answer + Send>;

/// A witness by the book: it cosigns what continues what it saw, and says what it saw where something else is said.
struct Book {
    pair: Ed25519KeyPair,
    name: &'static str,
    seen: Mutex<Option<Checkpoint>>,
}

impl Book {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { pair: Ed25519KeyPair::generate().unwrap(), name, seen: Mutex::default() })
    }

    fn id(&self) -> Vec<u8> {
        let public = self.pair.public_key().as_ref();
        digest(&SHA256, &[self.name.as_bytes(), b"\n\x04", public].concat()).as_ref()[..4].to_vec()
    }

    fn key(&self) -> WitnessKey {
        let id: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let key = STANDARD.encode([&[4], self.pair.public_key().as_ref()].concat());
        format!("{}+{id}+{key}", self.name).parse().unwrap()
    }

    fn line(&self, text: &str) -> String {
        let signature = self.pair.sign(format!("cosignature/v1\ntime 1700000000\n{text}").as_bytes());
        let bytes = [&self.id(), &1_700_000_000_u64.to_be_bytes()[..], signature.as_ref()].concat();
        format!("— {} {}\n", self.name, STANDARD.encode(bytes))
    }

    fn size(&self) -> u64 {
        self.seen.lock().unwrap().as_ref().map_or(0, |seen| seen.size)
    }

    fn take(&self, received: &Received) -> Answer {
        let body = str::from_utf8(&received.body).unwrap();
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let proof: Vec<_> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
        let new = Checkpoint::unverified(note).unwrap();
        let mut seen = self.seen.lock().unwrap();
        let has = seen.as_ref().map_or(0, |seen| seen.size);
        if old != has {
            return status(StatusCode::CONFLICT, &format!("{has}\n"));
        }
        let continues = seen.as_ref().is_none_or(|seen| new.continues(seen, &proof));
        if !continues || old == 0 && !proof.is_empty() {
            return status(StatusCode::UNPROCESSABLE_ENTITY, "");
        }
        *seen = Some(new);
        let text = format!("{}\n", note.split("\n\n").next().unwrap());
        Answer::whole(TEXT, self.line(&text))
    }

    fn serve(self: &Arc<Self>) -> Upstream {
        let (upstream, book) = (Upstream::start(), self.clone());
        upstream.otherwise(move |received| book.take(received));
        upstream
    }
}

fn status(status: StatusCode, body: &str) -> Answer {
    Answer::whole(TEXT, body.to_owned()).with_status(status)
}

/// A log that signs as soon as it can.
fn open(dir: &Path) -> Ledger {
    let soon = Duration::from_millis(1);
    Ledger::open(Config { dir: dir.to_owned(), checkpoint_interval: soon, ..Config::default() }).unwrap()
}

pub(crate) async fn record(ledger: &Ledger, count: usize) {
    record_as(ledger, count, "i").await;
}

async fn record_as(ledger: &Ledger, count: usize, id: &str) {
    for _ in 0..count {
        let record = Record::Refusal(RefusalRecord {
            asked: None,
            chain: Vec::new(),
            code: "token_expired".into(),
            detail: None,
            id: id.into(),
            identity: None,
            instance: None,
            kind: RefusalKind,
            message: "the token has expired".into(),
            outcome: "deny".into(),
            parent: None,
            path: "/mcp/finance/ledger".into(),
            principal: None,
            source: None,
            time: "2026-11-28T00:00:00.000000Z".into(),
            trace: "".into(),
            user: None,
            version: 1,
        });
        ledger.record(&record).await.unwrap();
    }
}

fn at(book: &Book, url: &str) -> WitnessAt {
    WitnessAt { key: book.key(), url: url.parse().unwrap() }
}

fn config(witnesses: Vec<WitnessAt>, quorum: usize) -> CosigningConfig {
    let quick = Duration::from_millis(5);
    let patience = Patience { first: quick, longest: quick * 4, look: quick, ..Patience::default() };
    CosigningConfig { witnesses, quorum: Some(quorum), guard: AddressGuard::default(), patience }
}

/// A gateway's part in it, until it is dropped.
struct Following {
    ledger: Ledger,
    meter: Arc<Meter>,
    trusted: Witnesses,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    fn of(ledger: &Ledger, config: CosigningConfig) -> Self {
        let cosigning = Cosigning::new(config).unwrap();
        let meter = Arc::new(Meter::new(&Vitals::default()));
        let (of, counts, trusted) = (ledger.clone(), meter.clone(), cosigning.trusted().clone());
        let task = tokio::spawn(async move {
            cosigning.follow(&of, &counts).await;
        });
        Self { ledger: ledger.clone(), meter, trusted, task }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not {what}: {:?}", self.ledger.cosigned());
    }

    /// How many records are cosigned, and by how many.
    fn cosigned(&self) -> (u64, usize) {
        self.ledger.cosigned().map_or((0, 0), |cosigned| {
            (cosigned.checkpoint.size, self.trusted.cosigned(&cosigned.note).unwrap().len())
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn each_checkpoint_is_cosigned_and_a_start_goes_on_where_it_was() {
    let (dir, books) = (tempfile::tempdir().unwrap(), [Book::new("w/1"), Book::new("w/2")]);
    let served = books.each_ref().map(Book::serve);
    let all = || vec![at(&books[0], &served[0].url("/a")), at(&books[1], &served[1].url("/b/"))];
    let ledger = open(dir.path());
    let following = Following::of(&ledger, config(all(), 2));
    for count in [1, 300, 600] {
        record(&ledger, count - usize::try_from(ledger.size()).unwrap()).await;
        following.until("cosigned", |it| it.cosigned() == (count as u64, 2)).await;
    }
    assert_eq!(books.each_ref().map(|book| book.size()), [600, 600]);
    assert_eq!(
        served.each_ref().map(|one| one.received()[0].uri.path().to_owned()),
        ["/a/add-checkpoint", "/b/add-checkpoint"]
    );
    drop(following);
    ledger.close().await;
    drop(ledger);

    // It knows what each has seen: nobody has to say it.
    let ledger = open(dir.path());
    let conflicts = served.each_ref().map(|one| one.received().len());
    let following = Following::of(&ledger, config(all(), 2));
    record(&ledger, 1).await;
    following.until("cosigned", |it| it.cosigned() == (601, 2)).await;
    let first =
        |place: usize| String::from_utf8(served[place].received()[conflicts[place]].body.to_vec()).unwrap();
    assert!(first(0).starts_with("old 600\n") && first(1).starts_with("old 600\n"), "{}", first(0));
    drop(following);
    // Where that is gone, a witness says it.
    std::fs::remove_file(dir.path().join("cosigned")).unwrap();
    ledger.close().await;
    drop(ledger);
    let ledger = open(dir.path());
    let following = Following::of(&ledger, config(all(), 2));
    following.until("cosigned", |it| it.cosigned() == (601, 2)).await;
    assert_eq!(following.meter.witnesses_of("w/1", "failed"), 0);
}

#[tokio::test]
async fn a_quorum_is_enough_and_less_is_none() {
    let (dir, books) = (tempfile::tempdir().unwrap(), [Book::new("w/1"), Book::new("w/2"), Book::new("w/3")]);
    let served = books.each_ref().map(Book::serve);
    let all = (0..3).map(|place| at(&books[place], &served[place].url("/"))).collect();
    served[2].otherwise(|_| Answer::reset());
    let ledger = open(dir.path());
    let following = Following::of(&ledger, config(all, 2));
    record(&ledger, 5).await;
    following.until("cosigned by two", |it| it.cosigned() == (5, 2)).await;
    following.until("failed", |it| it.meter.witnesses_of("w/3", "failed") > 0).await;
    served[1].otherwise(|_| status(StatusCode::SERVICE_UNAVAILABLE, "").with_header("retry-after", "1"));
    record(&ledger, 5).await;
    following.until("failed", |it| it.meter.witnesses_of("w/2", "failed") > 0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(following.cosigned(), (5, 2), "one is not two");
    // What is signed is signed as ever.
    assert!(ledger.is_open() && ledger.watermark().signed == 10);
    let back = books[2].clone();
    served[2].otherwise(move |received| back.take(received));
    following.until("cosigned by others", |it| it.cosigned() == (10, 2)).await;
}

#[tokio::test]
async fn what_a_witness_answers_is_believed_only_where_it_is_right() {
    let (dir, book, other) = (tempfile::tempdir().unwrap(), Book::new("w/1"), Book::new("w/1"));
    let served = Upstream::start();
    let ledger = open(dir.path());
    record(&ledger, 3).await;
    let text = |note: &str| format!("{}\n", note.split("\n\n").next().unwrap());
    let offered = move |received: &Received| {
        str::from_utf8(&received.body).unwrap().split_once("\n\n").map(|(_, note)| text(note)).unwrap()
    };
    let lies: Vec<(&str, Lie)> = vec![
        ("nothing", Box::new(|_| status(StatusCode::OK, ""))),
        ("no line", Box::new(|_| status(StatusCode::OK, "cosigned!\n"))),
        ("no newline", {
            let book = book.clone();
            Box::new(move |received| status(StatusCode::OK, book.line(&offered(received)).trim_end()))
        }),
        ("of another text", {
            let book = book.clone();
            Box::new(move |_| {
                status(StatusCode::OK, &book.line("x/y\n9\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"))
            })
        }),
        ("another text, signed", {
            let book = book.clone();
            Box::new(move |_| status(StatusCode::OK, &format!("\nx\n\n{}", book.line("x\n"))))
        }),
        ("of another key of this name", {
            Box::new(move |received| status(StatusCode::OK, &other.line(&offered(received))))
        }),
        ("far too much", Box::new(|_| status(StatusCode::OK, &"— w/1 AAAA\n".repeat(1 << 16)))),
        ("not text", Box::new(|_| Answer::whole(TEXT, &[0xff_u8; 9][..]))),
        ("elsewhere", Box::new(|_| Answer::redirect("http://127.0.0.1:1/"))),
        ("a size that is none", Box::new(|_| status(StatusCode::CONFLICT, "-1\n"))),
        ("a size without end", Box::new(|_| status(StatusCode::CONFLICT, "99999999999999999999999999\n"))),
        ("sizes that change", {
            let turn = std::sync::atomic::AtomicU64::new(0);
            Box::new(move |_| {
                let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                status(StatusCode::CONFLICT, &format!("{}\n", turn % 3))
            })
        }),
        ("an error", Box::new(|_| status(StatusCode::INTERNAL_SERVER_ERROR, ""))),
        ("nothing at all", Box::new(|_| Answer::hang())),
    ];
    for (what, lie) in lies {
        served.otherwise(lie);
        let mut config = config(vec![at(&book, &served.url("/"))], 1);
        config.patience.deadline = Duration::from_millis(300);
        let following = Following::of(&ledger, config);
        following.until(what, |it| it.meter.witnesses_of("w/1", "failed") > 1).await;
        assert_eq!((following.cosigned(), dir.path().join("cosigned").exists()), ((0, 0), false), "{what}");
    }
    // By others' names and keys, it may say what it wants.
    let (book, stranger) = (book.clone(), Book::new("stranger"));
    let key = book.key();
    served.otherwise(move |received| {
        let text = offered(received);
        status(StatusCode::OK, &format!("{}{}", stranger.line("lies\n"), book.line(&text)))
    });
    let following =
        Following::of(&ledger, config(vec![WitnessAt { key, url: served.url("/").parse().unwrap() }], 1));
    following.until("cosigned", |it| it.cosigned() == (3, 1)).await;
    let note = ledger.cosigned().unwrap().note.clone();
    assert!(!note.contains("stranger"), "{note}");
}

#[tokio::test]
async fn a_ledger_that_was_put_back_or_signed_anew_finds_no_witness() {
    let (dir, old, book) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Book::new("w/1"));
    let served = book.serve();
    let all = || vec![at(&book, &served.url("/"))];
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-rT").args([from, to]).status().unwrap();
        assert!(done.success());
    };
    let ledger = open(dir.path());
    record(&ledger, 10).await;
    ledger.close().await;
    drop(ledger);
    copy(dir.path(), old.path());
    let ledger = open(dir.path());
    let following = Following::of(&ledger, config(all(), 1));
    record(&ledger, 10).await;
    following.until("cosigned", |it| it.cosigned() == (20, 1)).await;
    drop(following);
    // The same key, and the past that was: shorter than what the witness saw, then as long and other, then longer.
    let back = open(old.path());
    let following = Following::of(&back, config(all(), 1));
    following.until("seen", |it| it.meter.witnesses_of("w/1", "inconsistent") > 0).await;
    for count in [10, 10] {
        record_as(&back, count, "other").await;
        let before = following.meter.witnesses_of("w/1", "inconsistent");
        following.until("seen", |it| it.meter.witnesses_of("w/1", "inconsistent") > before + 1).await;
        assert_eq!((following.cosigned(), book.size()), ((0, 0), 20));
    }
    // Calls are no business of it.
    assert!(back.is_open());
}

#[tokio::test]
async fn what_can_be_no_witness_is_refused_and_one_that_does_not_know_the_log_says_so() {
    let book = Book::new("w/1");
    let many = || (0..16).map(|_| at(&Book::new("w/n"), "https://w/n")).collect();
    let made = |witnesses, quorum| {
        Cosigning::new(CosigningConfig { quorum, ..config(witnesses, 1) })
            .map(drop)
            .map_err(|no| no.to_string())
    };
    for (witnesses, quorum, says) in [
        (vec![at(&book, "https://w/a"), at(&book, "https://w/b")], None, "given twice"),
        (vec![at(&book, "https://w/a")], Some(2), "from 1 to 1"),
        (vec![at(&book, "https://w/a")], Some(0), "from 1 to 1"),
        (vec![at(&book, "http://169.254.169.254/latest")], None, "never called"),
        (many(), Some(2), "at most 15"),
    ] {
        let error = made(witnesses, quorum).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(made(vec![at(&book, "https://w/a")], None), Ok(()));

    let (dir, served) = (tempfile::tempdir().unwrap(), Upstream::start());
    served.otherwise(|_| status(StatusCode::NOT_FOUND, "unknown log\n"));
    let ledger = open(dir.path());
    record(&ledger, 1).await;
    let following = Following::of(&ledger, config(vec![at(&book, &served.url("/"))], 1));
    following.until("refused", |it| it.meter.witnesses_of("w/1", "refused") > 1).await;
    let text = following.meter.text(&ledger);
    assert!(text.contains("vidimus_witness_requests_total{witness=\"w/1\",result=\"refused\"}"), "{text}");
    let age = text.lines().find_map(|line| line.strip_prefix("vidimus_ledger_uncosigned_seconds ")).unwrap();
    assert!(age.parse::<f64>().unwrap() > 0.0, "{age}");
}
