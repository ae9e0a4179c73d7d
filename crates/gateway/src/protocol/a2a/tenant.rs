//! Tenants of A2A 1.0: agents that share an address. One record is one agent, so each tenant has its own, and what a request says of tenants is what
//! the record of the agent says that it is sent to (ADR 102).

use bytes::Bytes;
use serde_json::value::RawValue;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Agent;

use super::tasks::PUSH;
use crate::protocol::beside::{check_none_but_empty, check_spelled};
use crate::protocol::members::{Members, first_member, quoted};

/// The member that names one.
pub(super) const NAME: &str = "tenant";

/// That what is asked names no tenant but the agent's own: another one is another agent, of which nobody decided.
///
/// # Errors
/// `member_undecided`; `message_invalid` for one by another spelling.
pub(super) fn check(params: &Json<'_>, agent: &Agent) -> Result<(), Refusal> {
    check_one(params, agent)?;
    let configuration = params.get("configuration");
    let holders = [Some(params), configuration].into_iter().flatten();
    let mut configs = holders.flat_map(|holder| PUSH.iter().filter_map(move |name| holder.get(name)));
    configs.try_for_each(|config| check_one(config, agent))
}

fn check_one(object: &Json<'_>, agent: &Agent) -> Result<(), Refusal> {
    let own = agent.endpoint.as_ref().and_then(|endpoint| endpoint.tenant.as_deref());
    match object.get(NAME).and_then(Json::as_str) {
        Some(said) if Some(said) == own => {}
        _ => check_none_but_empty(object, &[NAME], "agent")?,
    }
    // Also what says nothing: beside the name that is written, some reader takes it for that, and the agent for the one without a tenant.
    check_spelled(object, &[NAME])
}

/// A message of 1.0 to the tenant of the agent's record, where it has one.
///
/// # Errors
/// `internal` for what is no message of JSON-RPC.
pub(super) fn named(message: Bytes, tenant: Option<&str>) -> Result<Bytes, Refusal> {
    // A card is asked for without a message.
    let Some(tenant) = tenant.filter(|_| !message.is_empty()) else { return Ok(message) };
    let lost = || Refusal::new(Code::Internal, "what is to be sent is no message of JSON-RPC");
    let said = std::str::from_utf8(&message).map_err(|_| lost())?;
    let envelope = Members::unique(said).map_err(|error| lost().with_detail(error))?;
    let given = envelope.get("params").map(RawValue::get).filter(|params| *params != "null");
    let params = with(given.unwrap_or("{}"), tenant).ok_or_else(lost)?;
    if envelope.get("params").is_some() {
        return Ok(envelope.write("params", &params).into());
    }
    put_first(said, format!("\"params\":{params}")).map(Bytes::from).ok_or_else(lost)
}

/// Parameters with the tenant; `None` of what is no object.
fn with(params: &str, tenant: &str) -> Option<String> {
    let members = Members::unique(params).ok()?;
    match members.get(NAME) {
        Some(_) => Some(members.write(NAME, &quoted(tenant))),
        None => put_first(params, format!("\"{NAME}\":{}", quoted(tenant))),
    }
}

fn put_first(object: &str, member: String) -> Option<String> {
    let (at, member) = first_member(object, member);
    Some([object.get(..at.start)?, &*member, object.get(at.end..)?].concat())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn agent(tenant: Option<&str>) -> Agent {
        let mut agent = (*crate::protocol::tests::agent()).clone();
        if let Some(endpoint) = agent.endpoint.as_mut() {
            endpoint.tenant = tenant.map(Arc::from);
        }
        agent
    }

    /// Attack: another agent behind the same address, by its name in whatever place and spelling.
    #[test]
    fn no_tenant_is_named_but_the_agents_own() {
        for (params, tenant, expected) in [
            ("{}", None, Ok(())),
            (r#"{"tenant":""}"#, Some("a"), Ok(())),
            (r#"{"tenant":null}"#, Some("a"), Ok(())),
            (r#"{"tenant":"a"}"#, Some("a"), Ok(())),
            (r#"{"tenant":"a"}"#, None, Err(Code::MemberUndecided)),
            (r#"{"tenant":"b"}"#, Some("a"), Err(Code::MemberUndecided)),
            (r#"{"tenant":["a"]}"#, Some("a"), Err(Code::MemberUndecided)),
            (r#"{"Tenant":"a"}"#, Some("a"), Err(Code::MemberUndecided)),
            (r#"{"tenant":"a","te_nant":"b"}"#, Some("a"), Err(Code::MessageInvalid)),
            (r#"{"Tenant":""}"#, Some("a"), Err(Code::MessageInvalid)),
            (r#"{"TENANT":null}"#, Some("a"), Err(Code::MessageInvalid)),
            (r#"{"\u0074e_nant":""}"#, Some("a"), Err(Code::MessageInvalid)),
            (
                r#"{"configuration":{"taskPushNotificationConfig":{"Tenant":""}}}"#,
                Some("a"),
                Err(Code::MessageInvalid),
            ),
            (
                r#"{"configuration":{"taskPushNotificationConfig":{"tenant":"b"}}}"#,
                Some("a"),
                Err(Code::MemberUndecided),
            ),
            (r#"{"configuration":{"taskPushNotificationConfig":{"tenant":"a"}}}"#, Some("a"), Ok(())),
            (r#"{"pushNotificationConfig":{"tenant":"b"}}"#, None, Err(Code::MemberUndecided)),
        ] {
            let json = Json::parse(params.as_bytes()).expect("JSON");
            let checked = check(&json, &agent(tenant)).map_err(|refusal| refusal.code);
            assert_eq!(checked, expected, "{params} {tenant:?}");
        }
    }

    #[test]
    fn a_message_names_the_tenant_of_the_agents_record() {
        let of = |message: &'static str, tenant| {
            named(Bytes::from_static(message.as_bytes()), tenant).map_err(|refusal| refusal.code)
        };
        for (message, expected) in [
            (r#"{"id":1,"params":{ "id" : "t" }}"#, r#"{"id":1,"params":{"tenant":"a", "id" : "t" }}"#),
            (r#"{"id":1,"params":{}}"#, r#"{"id":1,"params":{"tenant":"a"}}"#),
            (r#"{"id":1,"params":null}"#, r#"{"id":1,"params":{"tenant":"a"}}"#),
            (r#"{"id":1,"params":{"tenant":""}}"#, r#"{"id":1,"params":{"tenant":"a"}}"#),
            (r#"{"id":1}"#, r#"{"params":{"tenant":"a"},"id":1}"#),
        ] {
            assert_eq!(of(message, Some("a")), Ok(expected.into()), "{message}");
            assert_eq!(of(message, None), Ok(message.into()), "nothing changes without one");
        }
        for no in ["[]", "x", r#"{"params":[]}"#] {
            assert_eq!(of(no, Some("a")), Err(Code::Internal), "{no}");
        }
    }
}
