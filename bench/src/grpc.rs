//! A2A over gRPC, as bytes: the message of JSON-RPC in the same words, in the frame that gRPC puts around it.

use std::sync::LazyLock;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;

/// The path of the method below that of an agent.
pub(crate) const METHOD: &str = "/lf.a2a.v1.A2AService/SendMessage";

/// The descriptors that the gateway has, written from `crates/gateway/proto/a2a.proto`.
static SEND_MESSAGE: LazyLock<Option<MethodDescriptor>> = LazyLock::new(|| {
    let bytes = include_bytes!("../../crates/gateway/src/protocol/a2a/grpc/a2a.binpb");
    let service = DescriptorPool::decode(&bytes[..]).ok()?.get_service_by_name("lf.a2a.v1.A2AService")?;
    service.methods().find(|method| method.name() == "SendMessage")
});

/// What a call says, by its JSON.
pub(crate) fn request(said: &Value) -> anyhow::Result<Bytes> {
    framed(method()?.input(), &said.to_string())
}

/// What it is answered, by its JSON.
pub(crate) fn response(said: &str) -> anyhow::Result<Bytes> {
    framed(method()?.output(), said)
}

/// The JSON of the one answer in a body.
pub(crate) fn answered(body: &[u8]) -> anyhow::Result<Value> {
    let Some(([0, length @ ..], message)) = body.split_first_chunk::<5>() else {
        bail!("no message of gRPC, or a compressed one");
    };
    anyhow::ensure!(usize::try_from(u32::from_be_bytes(*length))? == message.len(), "not one message");
    Ok(serde_json::to_value(DynamicMessage::decode(method()?.output(), message)?)?)
}

fn method() -> anyhow::Result<&'static MethodDescriptor> {
    SEND_MESSAGE.as_ref().context("the descriptors of A2A have no SendMessage")
}

fn framed(kind: MessageDescriptor, said: &str) -> anyhow::Result<Bytes> {
    let mut said = serde_json::Deserializer::from_str(said);
    let message = DynamicMessage::deserialize(kind, &mut said)?.encode_to_vec();
    let length = u32::try_from(message.len())?.to_be_bytes();
    Ok([&[0][..], &length[..], &message[..]].concat().into())
}
