//! What is said of the end of a text, and what is held and looked at of many small things.

use super::*;

const HALVES: [&str; 2] = ["my card is 4111 1111 1", "111 1111 ok"];

fn gemini(text: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"}]})
}

/// Attack: a reason to finish with each piece, as Gemini's models have said and servers that resemble OpenAI's do, so that nothing is held back.
#[test]
fn a_reason_to_finish_ends_no_text() {
    let openai = |reason: Value| move |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]});
    let (empty, stop) = (openai(json!("")), openai(json!("stop")));
    for events in [HALVES.map(gemini), HALVES.map(empty), HALVES.map(stop)] {
        let stream = events.each_ref().map(event).concat();
        for chunks in [vec![stream.as_bytes()], stream.as_bytes().chunks(7).collect()] {
            let passed = Passed::of(&model(Guard::PersonalData, OnFinding::Refuse), chunks);
            assert!(
                passed.refused.is_some() && !passed.events.contains("4111"),
                "{stream}: {}",
                passed.events
            );
        }
    }
}

/// Attack: a text that has ended, or all of an answer, and goes on.
#[test]
fn what_has_ended_does_not_go_on() {
    let anthropic = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let response = |text: &str| json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text});
    let chat = |text: &str| chunk(0, text);
    let agent =
        |text: &str| json!({"artifactUpdate": {"artifact": {"artifactId": "a", "parts": [{"text": text}]}}});
    for (speech, events, end) in [
        (Speech::Model, HALVES.map(anthropic), json!({"type": "content_block_stop", "index": 0.0})),
        (Speech::Model, HALVES.map(anthropic), json!({"type": "message_stop"})),
        (
            Speech::Model,
            HALVES.map(response),
            json!({"type": "response.output_text.done", "output_index": 0}),
        ),
        (Speech::Model, HALVES.map(chat), json!({"type": "error"})),
        (
            Speech::Agent,
            HALVES.map(agent),
            json!({"artifactUpdate": {"artifact": {"artifactId": "a"}, "lastChunk": true}}),
        ),
        (Speech::Agent, HALVES.map(agent), json!({"result": {"kind": "status-update", "final": true}})),
    ] {
        let [first, second] = events;
        let screen = screen(speech, &[(Guard::PersonalData, OnFinding::Refuse)]);
        let ended = event(&first) + &event(&end);
        let passed = Passed::of(&screen, [ended.as_bytes()]);
        assert_eq!((passed.events, passed.refused.is_none()), (ended.clone(), true));
        let stream = ended.clone() + &event(&second);
        let passed = Passed::of(&screen, [stream.as_bytes()]);
        let refused = passed.refused.map(|refusal| refusal.message.to_string());
        assert!(refused.is_some_and(|message| message.contains("has ended")), "{stream}");
        assert!(!passed.events.contains(HALVES[1]), "{}", passed.events);
    }
}

/// Attack: an index or an id that is written in another way, and is the same to who puts the texts together.
#[test]
fn a_text_is_the_same_however_its_index_is_written() {
    let openai = |index: &str, text: &str| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let agent = |id: &str, text: &str| {
        format!(
            "data: {{\"artifactUpdate\":{{\"artifact\":{{\"artifactId\":\"{id}\",\"parts\":[{{\"text\":\"{text}\"}}]}}}}}}\n\n"
        )
    };
    for (speech, stream) in [
        (Speech::Model, openai("0", HALVES[0]) + &openai("0.0", HALVES[1])),
        (Speech::Model, openai("1", HALVES[0]) + &openai("10e-1", HALVES[1])),
        (Speech::Agent, agent("x", HALVES[0]) + &agent("\\u0078", HALVES[1])),
    ] {
        let passed =
            Passed::of(&screen(speech, &[(Guard::PersonalData, OnFinding::Refuse)]), [stream.as_bytes()]);
        assert!(passed.refused.is_some() && !passed.events.contains("4111"), "{stream}");
    }
}

/// Attack: a member by another name that some readers know, in one chunk or in all.
#[test]
fn a_member_that_is_spelled_in_another_way_does_not_pass() {
    let agent = |text: &str| {
        json!({"artifactUpdate": {"artifact": {"artifactId": "a", "parts": [{"text": text}]}}}).to_string()
    };
    let chat = |text: &str| chunk(0, text).to_string();
    for (speech, events, from, to) in [
        (Speech::Agent, HALVES.map(agent), "artifactId", "artifact_id"),
        (Speech::Agent, HALVES.map(agent), "artifactUpdate", "artifact_update"),
        (Speech::Agent, HALVES.map(agent), "\"text\"", "\"Text\""),
        (Speech::Model, HALVES.map(chat), "choices", "Choices"),
        (Speech::Model, HALVES.map(chat), "index", "Index"),
        (Speech::Model, HALVES.map(chat), "\"content\"", "\"Content\""),
        (Speech::Model, HALVES.map(chat), "\"index\":0", "\"index\":\"0\""),
    ] {
        let [first, second] = events;
        let stream = format!("data: {first}\n\ndata: {}\n\n", second.replace(from, to));
        let passed =
            Passed::of(&screen(speech, &[(Guard::PersonalData, OnFinding::Refuse)]), [stream.as_bytes()]);
        assert!(passed.refused.is_some() && !passed.events.contains("4111"), "{stream}: {}", passed.events);
    }
}

/// Attack: events with a name and nothing else behind a text that waits. Each takes room, and none has data.
#[test]
fn events_without_data_wait_no_longer_than_there_is_room() {
    let screen = model(Guard::Secrets, OnFinding::Refuse);
    let mut stream = EventStream::new(screen.after(Box::new(Unchanged)), 1 << 20, TooLong::EndsStream);
    let mut push = |text: String| stream.push(&Bytes::from(text)).expect("nothing is found").len();
    let first = event(&chunk(0, "a"));
    assert_eq!(push(first), 0);
    let (mut come, mut gone) = (0, 0);
    for _ in 0..400 {
        let text = "event: x\n\n".repeat(100);
        come += text.len();
        gone += push(text);
    }
    let held = come.saturating_sub(gone);
    assert!(held < 128 << 10, "{held}");
}

/// Attack: an answer of as many parts as it has room for, each of which is looked for among all others.
#[test]
fn an_answer_of_many_parts_takes_no_longer_for_their_number() {
    let mut parts = vec![json!({"text": "a"}); 20_000];
    parts[7] = json!({"text": format!(" {CARD}, ")});
    let document = json!({"candidates": [{"content": {"parts": parts}}]}).to_string();
    let redacted =
        model(Guard::PersonalData, OnFinding::Redact).document(&document).expect("it can be redacted");
    assert!(redacted.is_some_and(|text| text.contains("[redacted:card]") && !text.contains("4111")));
}
