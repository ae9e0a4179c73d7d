//! Free text, and the sieves that say where it can be.

use std::os::unix::fs::FileExt as _;

use super::*;

/// A file of 4,096, two of 256, and what is newer.
const RECORDS: u64 = 4096 + 2 * 256 + 50;

/// In one record alone.
const RARE: &str = "xylophone, quartz and jukebox";

/// Numbers that look like none (splitmix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Records whose refusals say something in other scripts, and much that is like nothing else.
fn texts() -> Place {
    let mut place = Place::new();
    let ledger = place.ledger.as_ref().expect("open");
    for index in 0..RECORDS {
        let mut record = text(index);
        if index % 4 == 3 {
            let words = ["žluťoučký kůň", "語の→本", "🐎🐎 straße", "no"][mixed(index) as usize % 4];
            let words = if index == 11 { RARE } else { words };
            let noise: String = (0..50).map(|part| format!("{:016x}", mixed(index * 100 + part))).collect();
            record["message"] = format!("{words} {noise}").into();
        }
        let record = record.to_string();
        let record = Kept::read(record.as_bytes()).expect("a record");
        place.runtime.block_on(ledger.record(&record)).expect("kept");
    }
    place.next = RECORDS;
    place.extend();
    place
}

fn query(text: &str) -> Query {
    Query { text: Some(text.to_owned()), ..Query::default() }
}

fn has(candidate: &Candidate, text: &str) -> bool {
    str::from_utf8(&candidate.hit.record).expect("text").contains(text)
}

fn sieves(place: &Place) -> Vec<PathBuf> {
    let files = fs::read_dir(place.dir()).expect("read").map(|entry| entry.expect("read").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "sieve")).collect()
}

/// What is found is what a look at every record finds: parts of any of them, and what is nowhere.
#[test]
fn a_text_is_found_wherever_it_stands() {
    let place = texts();
    let model = place.model();
    let all = find(&model, Query::default());
    assert_eq!((all.len() as u64, sieves(&place).len()), (RECORDS, 3));
    let some = |round: u64| {
        let of = &all[mixed(round) as usize % all.len()];
        let text: Vec<char> = str::from_utf8(&of.hit.record).expect("text").chars().collect();
        let (from, length) =
            (mixed(round + 1000) as usize % text.len(), mixed(round + 2000) as usize % 24 + 1);
        let nowhere = if round.is_multiple_of(4) { "☃" } else { "" };
        text.iter().skip(from).take(length).collect::<String>() + nowhere
    };
    // Of one or two bytes; of more than one in a character; in the first and last rows of chunks and files; in other cases.
    let named = [
        "\"",
        "ll",
        "ž",
        "→",
        "語の",
        "ß",
        "🐎",
        "\"call-63\"",
        "t-64\"",
        "call-127\"",
        "t-128\"",
        "call-255\"",
        "t-4094\"",
        "call-4095\"",
        "t-4096\"",
        "call-4351\"",
        "t-4352\"",
        "call-4607\"",
        "t-4608\"",
        "CALL-63",
        RARE,
    ];
    for (round, text) in named.into_iter().map(str::to_owned).chain((0..40).map(some)).enumerate() {
        let mut expected =
            all.iter().filter(|candidate| has(candidate, &text)).map(|it| it.hit.index).collect::<Vec<_>>();
        let newest_first = round.is_multiple_of(2);
        if newest_first {
            expected.reverse();
        }
        let found = find(&model, Query { newest_first, ..query(&text) });
        assert_eq!(indices(&found), expected, "{text:?}");
    }
}

/// A page that no row needs is not even noticed to be damaged.
#[test]
fn what_a_sieve_rules_out_is_not_read() {
    let place = texts();
    let model = place.model();
    let rows = &model.builder.ranges[0].rows;
    let metadata = rows.metadata().expect("read");
    let columns = metadata.row_group(0).columns();
    let record = columns.iter().find(|column| column.column_descr().name() == "record").expect("there");
    let (start, length) = record.byte_range();
    assert!(length > 200_000, "the last page is in no block that the first one has: {length}");
    let file = fs::File::options().write(true).open(&rows.path).expect("opened");
    file.write_all_at(&[0x5a; 256], start + length - 256).expect("written");
    assert_eq!(indices(&find(&model, query(RARE))), [11]);
    assert!(find(&model, query("such a thing is nowhere")).is_empty());
    let everywhere = Wanted { kinds: ALL.to_vec(), query: query("\"kind\":"), after: None };
    assert!(model.find(&everywhere, usize::MAX).expect_err("damaged").damaged().is_some());
}

#[test]
fn a_damaged_sieve_is_made_again_and_leaves_nothing_out() {
    let place = texts();
    let right = find(&place.model(), query(RARE));
    assert_eq!(indices(&right), [11]);
    let mut noticed = 0;
    for path in sieves(&place) {
        let good = fs::read(&path).expect("read");
        for part in 0..4 {
            let mut bad = good.clone();
            bad[(good.len() - 1) * part / 3] ^= 0xff;
            fs::write(&path, &bad).expect("written");
            let wanted = Wanted { kinds: ALL.to_vec(), query: query(RARE), after: None };
            match place.model().find(&wanted, usize::MAX) {
                Ok(found) => assert_eq!(found, right),
                Err(error) => {
                    noticed += 1;
                    repair(&place.dir(), &place.log(), &error).expect("made again");
                    assert_eq!(find(&place.model(), query(RARE)), right);
                }
            }
            assert!(check(&place.dir(), &place.log()).expect("checked").repaired <= 1);
            assert!(fs::read(&path).expect("read") == good, "{} is what it was", path.display());
        }
    }
    assert!(noticed >= 8, "{noticed}");
    for change in [truncate as fn(&Path), |path| fs::remove_file(path).expect("removed")] {
        change(&sieves(&place)[0]);
        assert!(Model::open(&place.dir(), &place.log()).expect_err("damaged").damaged().is_some());
        assert_eq!(extend(&place.dir(), &place.log(), &mut |_, _| {}).expect("made again").repaired, 1);
        assert_eq!(find(&place.model(), query(RARE)), right);
    }
}

/// One that was made before there were sieves.
#[test]
fn an_index_without_sieves_is_read_whole() {
    let mut place = texts();
    let dir = place.dir();
    let mut manifest = Manifest::read(&dir).expect("read").expect("there");
    manifest.ranges.iter_mut().for_each(|range| range.sieve = None);
    manifest.write(&dir).expect("written");
    assert!(sieves(&place).is_empty());
    assert!(!fs::read_to_string(dir.join("manifest")).expect("read").contains("sieve"));
    assert_eq!(indices(&find(&place.model(), query(RARE))), [11]);
    // Files that are written from now on have them.
    place.append(512);
    assert_eq!((place.extend().added, sieves(&place).len()), (512, 2));
    assert_eq!(indices(&find(&place.model(), query(RARE))), [11]);
    assert_eq!(indices(&find(&place.model(), query("\"id\":\"call-4863\""))), [4863]);
    rebuild(&dir, &place.log(), &mut |_, _| {}).expect("made");
    assert_eq!(sieves(&place).len(), place.model().builder.ranges.len());
    assert_eq!(indices(&find(&place.model(), query(RARE))), [11]);
}
