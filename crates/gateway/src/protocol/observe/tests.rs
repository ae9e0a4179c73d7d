use super::*;

const OPENAI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11,\"total_tokens\":18}}\n\ndata: [DONE]\n\n";
const ANTHROPIC: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\r\n\r\n\
    event: message_delta\r\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":11}}\r\n\r\n";

fn events(observe: Observe, text: &[u8], size: usize) -> Observation {
    let mut observer = Observer::events(observe);
    text.chunks(size).for_each(|chunk| observer.push(chunk));
    observer.finish()
}

fn document(observe: Observe, text: &[u8], size: usize) -> Observation {
    let mut observer = Observer::document(observe);
    text.chunks(size).for_each(|chunk| observer.push(chunk));
    observer.finish()
}

fn found(is_error: bool, unread: bool) -> Observation {
    Observation { usage: Usage::default(), is_error, unread }
}

#[test]
fn usage_is_found_however_the_stream_is_cut() {
    let usage = Usage { input: Some(7), output: Some(11) };
    for text in [OPENAI, ANTHROPIC, &format!("\u{feff}{OPENAI}"), &OPENAI.replace("\n", "\r")] {
        for size in 1..=text.len() {
            let found = events(Observe::Usage, text.as_bytes(), size);
            assert_eq!(found, Observation { usage, ..Observation::default() }, "chunks of {size}: {text}");
        }
    }
}

#[test]
fn an_error_in_a_stream_is_found_however_it_is_written() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#;
    let tool = r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#;
    let long = format!(r#"{{"x":"{}","error":{{"code":1}}}}"#, "x".repeat(300_000));
    for (what, text) in [
        ("one line", format!("data: {error}\n\n")),
        ("no space", format!("data:{tool}\r\n\r\n")),
        ("a byte order mark", format!("\u{feff}data: {error}\n\n")),
        ("several lines", format!("data: {}\n\n", error.replace(",", ",\ndata: "))),
        ("an empty line of data first", format!("data\ndata: {error}\n\n")),
        ("a line over 256 KiB", format!("data: {long}\n\n")),
        ("after others", format!(": ping\n\nevent: x\ndata: {{}}\n\ndata: {error}\n\n")),
        ("an event whose empty line never came", format!("data: {error}")),
        ("an escaped name", "data: {\"\\u0065rror\":{}}\n\n".to_owned()),
    ] {
        for size in [1, 2, 3, 7, 64, 4096, usize::MAX] {
            assert_eq!(
                events(Observe::RpcError, text.as_bytes(), size),
                found(true, false),
                "{what}, chunks of {size}"
            );
        }
    }
    for text in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "data: {\"choices\":[]}\n\ndata: {\"error\":{\"message\":\"x\",\"code\":502}}\n\ndata: [DONE]\n\n",
    ] {
        assert_eq!(events(Observe::Usage, text.as_bytes(), 5), found(true, false), "{text}");
    }
}

#[test]
fn what_is_no_message_is_passed_over_and_a_broken_one_is_unread() {
    for (text, unread) in [
        ("data: [DONE]\n\n", false),
        ("data: ping\n\n: ping\n\ndata:\n\n", false),
        ("data: {\"a\":1}\n\n", false),
        ("data: {\"a\":\n\ndata: {\"error\":1\n\n", true),
        ("data: {\"error\":{}}}\n\n", true),
    ] {
        for size in [1, 5, usize::MAX] {
            assert_eq!(
                events(Observe::RpcError, text.as_bytes(), size).unread,
                unread,
                "{text} in chunks of {size}"
            );
        }
    }
}

#[test]
fn a_document_of_any_length_is_read_and_what_is_none_is_unread() {
    let long = "\u{e9}\\n".repeat(700_000);
    let usage = format!(r#"{{"x":"{long}","usage":{{"prompt_tokens":3,"input_tokens":3}}}}"#);
    let error = format!(r#"{{"x":"{long}","error":{{"code":1}}}}"#);
    for size in [1000, usize::MAX] {
        assert_eq!(
            document(Observe::Usage, usage.as_bytes(), size).usage,
            Usage { input: Some(3), output: None }
        );
        assert_eq!(document(Observe::RpcError, error.as_bytes(), size), found(true, false));
    }
    for (text, unread) in [
        (&b""[..], false),
        (b" \n", false),
        (b"{}", false),
        (b"\xef\xbb\xbf{}", false),
        (b"{\"result\":", true),
        (b"<html>", true),
        (b"text", true),
        (b"\x1f\x8b\x08", true),
    ] {
        for observe in [Observe::Usage, Observe::RpcError] {
            assert_eq!(document(observe, text, 2), found(false, unread), "{text:?}");
            assert_eq!(Observation::of(observe, text), found(false, unread), "{text:?}");
        }
    }
    let mut encoded = Observer::encoded(Observe::RpcError);
    encoded.push(b"\x1f\x8b\x08");
    assert_eq!(encoded.finish(), found(false, true));
}

#[test]
fn a_whole_document_is_found_to_be_an_error_or_not() {
    for (text, error) in [
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, true),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#, true),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"{\"error\":1}"}]}}"#, false),
        (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"error":1}}"#, false),
    ] {
        assert_eq!(Observation::of(Observe::RpcError, text.as_bytes()), found(error, false), "{text}");
    }
    let both = br#"{"usage":{"prompt_tokens":3,"input_tokens":3,"completion_tokens":4,"output_tokens":4}}"#;
    assert_eq!(Observation::of(Observe::Usage, both).usage, Usage { input: Some(3), output: Some(4) });
}
