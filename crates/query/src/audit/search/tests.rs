use super::*;

fn wanted(members: serde_json::Value) -> Result<Wanted, String> {
    let question: SearchQuestion = serde_json::from_value(members).map_err(|error| error.to_string())?;
    question.wanted().map_err(|error| error.to_string())
}

#[test]
fn a_question_that_nothing_can_fit_is_refused_and_not_answered_with_nothing() {
    use serde_json::json;
    let (all, calls) = (Some(Decided::All), Some(Decided::Calls));
    for (question, decided, effects) in [
        (json!({}), calls, false),
        (json!({"outcome": "deny"}), calls, false),
        (json!({"outcome": "deny", "code": "no_permit"}), calls, false),
        (json!({"outcome": "failed"}), None, true),
        (json!({"outcome": "failed", "code": "upstream_timeout"}), None, true),
        (json!({"outcome": "ok", "kind": "all"}), None, true),
        (json!({"outcome": "deny", "kind": "all"}), all, false),
        // Refusals and effects have the same codes.
        (json!({"code": "no_permit"}), all, true),
        (json!({"code": "no_permit", "kind": "decision"}), Some(Decided::Decisions), false),
        (json!({"code": "no_permit", "kind": "refusal"}), Some(Decided::Refusals), false),
        (json!({"kind": "act", "user": "a"}), Some(Decided::Acts), false),
        (json!({"kind": "effect", "principal": "a/b"}), None, true),
        (json!({"outcome": "ok", "resource": "t", "kind": "all"}), None, true),
        (json!({"since": "2026-11-21T00:00:00Z", "until": "2026-11-21T00:00:01Z"}), calls, false),
    ] {
        assert_eq!(wanted(question.clone()), Ok(Wanted { decided, effects }), "{question}");
    }
    for (question, says) in [
        (json!({"outcome": "denied"}), "deny"),
        (json!({"kind": "efect"}), "effect"),
        (json!({"tool": "x"}), "unknown field"),
        (json!({"kind": "decision", "outcome": "ok"}), "no record of the kind decision"),
        (json!({"kind": "effect", "outcome": "deny"}), "no record of the kind effect"),
        (json!({"since": "2026-11-22T00:00:00Z", "until": "2026-11-21T00:00:00Z"}), "is not before"),
    ] {
        let error = wanted(question.clone()).expect_err("refused");
        assert!(error.contains(says), "{question}: {error}");
    }
}

#[test]
fn every_word_reads_back_and_says_what_it_means() {
    for outcome in Outcome::ALL {
        let text = serde_json::to_string(outcome).expect("JSON");
        assert_eq!(text, format!("\"{}\"", outcome.as_str()));
        assert_eq!(serde_json::from_str::<Outcome>(&text).expect("read"), *outcome);
    }
    for meaning in
        Kind::ALL.iter().map(|kind| kind.meaning()).chain(Outcome::ALL.iter().map(|it| it.meaning()))
    {
        assert!(meaning.trim().ends_with('.'), "{meaning:?}");
    }
}

/// Both are of one decision, whichever is met first.
#[test]
fn a_call_that_was_taken_back_while_it_waited_is_found_by_both_of_its_effects() {
    use crate::recordings::{Made, Recordings, ends_twice, limited};
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.yaml"), limited(10)).expect("written");
    let world = vidimus_registry::load(directory.path()).snapshot;
    let mut recordings = Recordings::begin();
    for _ in 0..2 {
        recordings
            .call(&world, Made { args: "{\"amount\": 1}", ..Made::by("Agent/a/bot", "Tool/a/bank/pay") });
    }
    let all = [ends_twice(0), ends_twice(1)];
    // What ran beside it is between them.
    for effect in [&all[0][0], &all[1][0], &all[0][1], &all[1][1]] {
        recordings.record(effect);
    }
    recordings.end();
    for oldest_first in [true, false] {
        let principal = Some("a/bot".to_owned());
        let question =
            SearchQuestion { kind: Some(Kind::Effect), principal, oldest_first, ..SearchQuestion::default() };
        let found: Vec<Found> = search(&recordings.ledger(), &question)
            .expect("a question")
            .map(|found| found.expect("whole"))
            .collect();
        assert_eq!(found.len(), 4, "{oldest_first}");
        assert!(found.iter().all(|found| found.decided.is_some()), "{oldest_first}");
        let of_another = SearchQuestion { principal: Some("a/other".to_owned()), ..question };
        assert_eq!(search(&recordings.ledger(), &of_another).expect("a question").count(), 0);
    }
}
