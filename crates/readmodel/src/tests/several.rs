use super::*;

fn one(answer: &Answer, column: &str) -> Value {
    answer.rows[0][column].clone()
}

/// Sealed and newer, of two logs, as sums of each by itself would add up; and a copy is not counted twice.
#[test]
fn several_logs_are_asked_as_one() {
    let (first, mut second) = (whole(), Place::new());
    second.append(300);
    let models = || {
        vec![
            ("one".to_owned(), first.model()),
            ("two".to_owned(), {
                let mut model = Model::in_memory(&second.log(), 0).expect("read");
                model.refresh().expect("read");
                model
            }),
        ]
    };
    let several = Several::of(models()).expect("of two logs");
    let counted =
        several.sql("SELECT origin, count(*) AS n FROM records GROUP BY origin ORDER BY origin", BOUNDS);
    let counted: Vec<_> =
        counted.expect("answered").rows.iter().map(|row| (row["origin"].clone(), row["n"].clone())).collect();
    assert_eq!(counted, [(json!("one"), json!(4964)), (json!("two"), json!(300))]);
    let query = "SELECT sum(calls) AS calls, sum(effects) AS effects FROM hours WHERE what = 'principal'";
    let alone = |model: &Model| {
        let answer = model.sql(query, BOUNDS).expect("answered");
        (one(&answer, "calls").as_i64().expect("a sum"), one(&answer, "effects").as_i64().expect("a sum"))
    };
    let (a, b) = (alone(&models()[0].1), alone(&models()[1].1));
    let all = several.sql(query, BOUNDS).expect("answered");
    assert_eq!((one(&all, "calls"), one(&all, "effects")), (json!(a.0 + b.0), json!(a.1 + b.1)));
    let question = StatsQuestion { by: By::Agent, order: Order::Usual, since: None, until: None, limit: 100 };
    let (mine, theirs) =
        (models()[0].1.stats(&question).expect("sums"), several.stats(&question).expect("sums"));
    let calls =
        |answer: &Answer| answer.rows.iter().map(|row| row["calls"].as_i64().expect("a sum")).sum::<i64>();
    assert!(calls(&mine) > 0 && calls(&theirs) > calls(&mine), "{theirs:?}");
    // What is looked for in one file is in its row alone.
    let found = several.sql(
        "SELECT origin, index FROM records WHERE id = 'call-4900' AND kind = 'decision' ORDER BY index",
        BOUNDS,
    );
    assert_eq!(one(&found.expect("answered"), "origin"), "one");
    assert!(matches!(several.sql("DROP TABLE records", BOUNDS), Err(ModelError::NotRead)));
}

#[test]
fn a_copy_is_counted_once_and_parts_that_overlap_are_refused() {
    let place = whole();
    let from = |index| {
        let mut model = Model::in_memory(&place.log(), index).expect("read");
        model.refresh().expect("read");
        model
    };
    let named = |model| ("one".to_owned(), model);
    let count = |several: &Several| {
        one(&several.sql("SELECT count(*) AS n FROM records", BOUNDS).expect("answered"), "n")
    };
    let several = Several::of(vec![named(from(200)), named(place.model())]).expect("a copy");
    assert_eq!(count(&several), 4964);
    // The front of it, as an archive has it.
    let mut front = Place::new();
    front.append(1000);
    let mut archive = Model::in_memory(&front.log(), 0).expect("read");
    archive.refresh().expect("read");
    let overlap = Several::of(vec![named(from(900)), named(archive)]).expect_err("refused").to_string();
    assert!(overlap.contains("from 900 to 999"), "{overlap}");
    let mut archive = Model::in_memory(&front.log(), 0).expect("read");
    archive.refresh().expect("read");
    let several = Several::of(vec![named(from(1000)), named(archive)]).expect("parts");
    assert_eq!(count(&several), 4964);
}
