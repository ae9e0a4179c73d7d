//! How much of what a model says each guard reads in a second on the way to the caller: of an answer that is whole, and of a stream, a word an event, in
//! windows over the joined text. Ordinary text, in which nothing is found. One JSON object a line.

#![expect(clippy::print_stdout, reason = "its output")]
#![expect(clippy::expect_used, reason = "a measurement that cannot be set up fails")]

use std::time::Instant;

use serde_json::json;
use vidimus_core::call::Destination;
use vidimus_core::guard::{Guard, OnFinding};
use vidimus_core::obligation::{Change, Obligation};
use vidimus_core::resource::{Object, Origin, check};
use vidimus_gateway::{Demands, EventFilter, Unchanged};

const ORDINARY: &str = "The order of 12 chairs (EUR 1,499.90) leaves the warehouse on 2026-11-28 and is \
    with you on Tuesday; please have somebody at the door, as the driver calls about an hour before. ";
const LENGTH: usize = 64 * 1024;
const ROUNDS: usize = 21;

fn main() {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let text = ORDINARY.repeat(LENGTH / ORDINARY.len() + 1);
    let message = json!({"role": "assistant", "content": &text});
    let choices = json!([{"index": 0, "finish_reason": "stop", "message": message}]);
    let whole = json!({"id": "c", "object": "chat.completion", "choices": choices}).to_string();
    let event = |word: &str| {
        let choices = json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}]);
        format!("data: {}\n\n", json!({"id": "c", "object": "chat.completion.chunk", "choices": choices}))
    };
    let events: Vec<String> = text.split_inclusive(' ').map(event).collect();
    let model = model();
    for guard in Guard::ALL {
        let demanded = Obligation {
            change: Change::GuardAnswer(guard.clone(), OnFinding::Refuse),
            policy: "bench/guarded#1".into(),
        };
        let screen = || {
            let screen =
                Demands::of(std::slice::from_ref(&demanded), None).and_then(|demands| demands.screen);
            screen.expect("a guard").of_answers_by(&model)
        };
        let at_once = || assert_eq!(screen().document(&whole).expect("nothing is found"), None);
        let in_pieces = || assert!(passed(screen().after(Box::new(Unchanged)), &events) > text.len());
        print(&guard, "whole", &text, middle(at_once));
        print(&guard, "stream", &text, middle(in_pieces));
    }
}

/// How many bytes come through.
fn passed(mut filter: Box<dyn EventFilter>, events: &[String]) -> usize {
    let mut passed = 0;
    for event in events {
        let left = filter.filter(event.as_bytes()).expect("nothing is found");
        passed += left.map_or(event.len(), |left| left.len());
        filter.passed();
    }
    passed + filter.finish().expect("nothing is found").len()
}

/// The middle of the rounds, in seconds.
fn middle(one: impl Fn()) -> f64 {
    let round = || {
        let begun = Instant::now();
        one();
        begun.elapsed().as_secs_f64()
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_unstable_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
}

fn model() -> Destination {
    let provider = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "LLMProvider",
        "metadata": {"namespace": "bench", "name": "models"},
        "spec": {"owner": "ada.lovelace@example.com", "team": "t", "type": "openAICompatible",
            "endpoint": {"url": "http://models.example"}, "credential": {"none": {}}, "models": [{"name": "small"}]}});
    match check(&Origin::default(), &provider).expect("a provider") {
        Object::LlmProvider(provider) => Destination::Provider(provider),
        _ => unreachable!("a provider"),
    }
}

fn print(guard: &Guard, how: &str, text: &str, seconds: f64) {
    let megabytes = text.len() as f64 / 1e6;
    println!(
        r#"{{"name":"guarded_answers","value":{:.1},"unit":"MB/s","parameters":{{"guard":"{}","answer":"{how}","bytes":{},"statistic":"p50"}}}}"#,
        megabytes / seconds,
        guard.as_str(),
        text.len()
    );
}
