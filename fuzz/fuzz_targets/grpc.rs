//! A2A over gRPC: frames in every chunking, and messages as JSON: what is read of a request is what goes on, and what is read at once is what reflection
//! reads.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::protocol::a2a::grpc::frames::{Frames, framed, only};
use vidimus_gateway::fuzzing::protocol::a2a::grpc::schema::Rpc;
use vidimus_gateway::fuzzing::protocol::a2a::grpc::status::Status;

const METHODS: [&str; 6] = [
    "SendMessage",
    "ListTasks",
    "CreateTaskPushNotificationConfig",
    "SubscribeToTask",
    "GetExtendedAgentCard",
    "a2a.v1.A2AService/SendMessage",
];

fuzz_target!(|input: &[u8]| {
    let Some((first, input)) = input.split_first() else { return };
    let whole = read(input, usize::MAX);
    assert_eq!(read(input, usize::from(*first).max(1)), whole, "however it is cut");
    if let Ok(message) = only(input) {
        assert_eq!(framed(message), input);
    }
    let rpc = Rpc::named(METHODS[usize::from(*first) % METHODS.len()]).expect("a method");
    rpc.check_wire(input);
    if let Ok(said) = rpc.asked(input, None)
        && rpc.rpc_method().is_none()
    {
        let again = rpc.request(&said).expect("what was read can be said");
        assert_eq!(rpc.asked(&again, None).as_deref(), Ok(&*said), "and says the same");
        let own = rpc.tenant(input).unwrap_or_default();
        let left = rpc.asked(input, Some(own)).expect("the same");
        assert_eq!(rpc.tenant(&rpc.request(&left).expect("said")), None, "{own:?}");
    }
    let _ = rpc.answered(input);
    if let Ok(text) = std::str::from_utf8(input) {
        rpc.check_json(text);
        let _ = rpc.answer(text);
        if let Ok(error) = serde_json::from_str(text) {
            let status = Status::of_error(&error);
            assert!(Status::of_trailers(&status.trailers()).is_some_and(|read| read.code == status.code));
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "9".parse().expect("a value"));
    if let Ok(details) = http::HeaderValue::from_bytes(input) {
        trailers.insert("grpc-status-details-bin", details);
        assert!(Status::of_trailers(&trailers).is_some_and(|status| status.code == 9));
    }
});

/// The messages of a body, and whether it is one of gRPC.
fn read(body: &[u8], size: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut frames, mut found) = (Frames::of_at_most(1 << 20), Vec::new());
    for chunk in body.chunks(size) {
        frames.push(chunk);
        loop {
            match frames.take() {
                Ok(Some(message)) => found.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    let is_whole = frames.finish().is_ok();
    (found, is_whole)
}
