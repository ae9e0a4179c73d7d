use http_body_util::BodyExt as _;

use super::*;

const LIMIT: usize = 64 * 1024;

fn frame(headers: &[(&'static str, &str)], payload: &str) -> Vec<u8> {
    let mut message = Message::new(payload.to_owned());
    for (name, value) in headers {
        message = message.add_header(Header::new(*name, Value::String((*value).to_owned().into())));
    }
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame).expect("a frame");
    frame
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    frame(
        &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// What frames are read as, in chunks of this size.
fn read(frames: &[u8], size: usize) -> Result<String, Code> {
    let (mut reader, mut events) = (Reader::new(LIMIT), String::new());
    for chunk in frames.chunks(size) {
        events += &reader.push(chunk).map_err(|refusal| refusal.code)?;
    }
    reader.finish().map_err(|refusal| refusal.code)?;
    Ok(events)
}

async fn written(events: &str) -> Vec<u8> {
    let body = InFrames::new(ReplyBody::whole(events.to_owned()), LIMIT);
    let body = ReplyBody::in_frames(body).collect().await.expect("a whole answer");
    body.to_bytes().to_vec()
}

/// What is not changed on its way is the same frames, byte for byte.
#[tokio::test]
async fn frames_come_back_as_they_came_however_they_are_cut() {
    let all = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a\n\nb: é"},"p":"abc"}"#),
        event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":2},"metrics":{"latencyMs":5}}"#),
    ]
    .concat();
    let events = read(&all, usize::MAX).expect("frames");
    assert!(events.starts_with("event: messageStart\ndata: {\"role\":\"assistant\"}\n\n"), "{events}");
    for size in [1, 2, 7, 64, 300] {
        assert_eq!(read(&all, size).as_ref(), Ok(&events), "{size}");
    }
    assert_eq!(written(&events).await, all);
}

#[tokio::test]
async fn an_exception_is_an_error_on_the_way_and_an_exception_at_its_end() {
    let thrown = frame(
        &[
            (":exception-type", "throttlingException"),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ],
        r#"{"message":"slow down"}"#,
    );
    let events = read(&thrown, usize::MAX).expect("frames");
    assert_eq!(events, "event: throttlingException\ndata: {\"error\":{\"message\":\"slow down\"}}\n\n");
    assert_eq!(written(&events).await, thrown);
    // What is no exception of the service is one all the same.
    let failed = frame(
        &[(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "no \"x\"")],
        "",
    );
    let events = read(&failed, usize::MAX).expect("frames");
    assert_eq!(events, "event: InternalFailure\ndata: {\"error\":{\"message\":\"no \\\"x\\\"\"}}\n\n");
}

/// What is written over several lines is one event, and keeps what it says.
#[tokio::test]
async fn a_payload_of_several_lines_is_one_event() {
    let events = read(&event("metadata", "{\n  \"a\": 1,\r\n  \"b\": 2\n}"), usize::MAX).expect("frames");
    assert_eq!(events.matches("\n\n").count(), 1, "{events}");
    let frames = written(&events).await;
    let back = read(&frames, usize::MAX).expect("frames");
    let data: String = back.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&data).expect("JSON"), json!({"a": 1, "b": 2}));
}

/// Attacks: a length that is none, or that nobody could hold; a bit that is another; a name by which another event would begin; what is no event.
#[test]
fn what_is_no_frame_ends_the_stream() {
    let good = event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] ^= byte;
        bad
    };
    let invalid = Err(Code::UpstreamInvalid);
    let long = event("metadata", &format!("{{\"x\":\"{}\"}}", "x".repeat(LIMIT)));
    for (frames, expected) in [
        // The length, the length of headers, the checksum of both, a header, the payload, the checksum of all.
        (with(0, 0x80), &invalid),
        (with(7, 1), &invalid),
        (with(8, 1), &invalid),
        (with(14, 1), &invalid),
        (with(good.len() - 6, 1), &invalid),
        (with(good.len() - 1, 1), &invalid),
        (vec![0, 0, 0, 15], &invalid),
        (vec![0, 0, 0, 0], &invalid),
        (long, &invalid),
        (event("a\n\ndata: x", "{}"), &invalid),
        (event("", "{}"), &invalid),
        (event("x", r#"{"error":1}"#), &invalid),
        (frame(&[(":message-type", "event")], "{}"), &invalid),
        (frame(&[(":event-type", "x")], "{}"), &invalid),
        (frame(&[(":message-type", "other"), (":event-type", "x")], "{}"), &invalid),
        (frame(&[(":message-type", "exception"), (":exception-type", "x")], r#"1},"usage":{"#), &invalid),
        (good[..good.len() - 1].to_vec(), &Err(Code::UpstreamInterrupted)),
        (good[..3].to_vec(), &Err(Code::UpstreamInterrupted)),
    ] {
        assert_eq!(&read(&frames, usize::MAX), expected, "{frames:?}");
        assert_eq!(&read(&frames, 1), expected, "{frames:?}");
    }
}

/// Hostile bytes of any kind: nothing panics, and nothing is held beyond a frame.
#[test]
fn any_bytes_are_read_or_refused() {
    let good = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"hello"}}"#);
    for at in 0..good.len() {
        // Among them the types of headers, each of which is read before the last checksum is.
        for byte in (0..=10).chain([0x20, 0x7f, 0x80, 0xff]) {
            let mut bad = good.clone();
            bad[at] = byte;
            if bad != good {
                assert!(read(&bad, usize::MAX).is_err(), "{at} {byte}");
            }
        }
    }
}

#[test]
fn errors_of_bedrock_are_read_as_those_of_others() {
    let told = |text: &str| {
        let mut form = Form::Error(Vec::new());
        form.push(&Bytes::copy_from_slice(text.as_bytes())).expect("read");
        String::from_utf8(form.finish().expect("read").to_vec()).expect("UTF-8")
    };
    for (text, expected) in [
        (r#"{"message":"no"}"#, r#"{"error":{"message":"no"}}"#),
        (r#"{"Message":"no","x":1}"#, r#"{"error":{"Message":"no","x":1}}"#),
        // What is no error of Bedrock's is judged as it came.
        (r#"{"message":{}}"#, r#"{"message":{}}"#),
        (r#"{"detail":"Not Found"}"#, r#"{"detail":"Not Found"}"#),
        ("<html>", "<html>"),
        ("", ""),
    ] {
        assert_eq!(told(text), expected);
    }
    let mut form = Form::Error(Vec::new());
    let long = form.push(&Bytes::from(vec![b' '; LONGEST_ERROR + 1])).map_err(|refusal| refusal.code);
    assert_eq!(long, Err(Code::UpstreamInvalid));
}
