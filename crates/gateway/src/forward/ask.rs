//! Asks the webhook of a guard about a call (ADR 87). It is no upstream and carries nothing out, so it is asked without a permit; its address is held to
//! what an upstream's is held to, after resolution too. It gets what the call says and who makes it: no credential, and no header of the caller's.
//! By the gateway's signature over all of that it knows who asks.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::json;
use serde_json::value::RawValue;
use vidimus_core::call::Call;
use vidimus_core::guard::Kinds;
use vidimus_core::json::Json;
use vidimus_core::refusal::Code;
use vidimus_core::resource::own_guard::Webhook;

use super::{Upstream, connect};
use crate::body_signature::SIGNATURE;

/// The longest question, in bytes: a longer message is not sent.
const MAX_QUESTION: usize = 1 << 20;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The most findings of one answer.
const MOST_FINDINGS: usize = 64;

/// The longest name of a finding, in bytes.
const MAX_FINDING: usize = 63;

/// Why a webhook gave no answer that can be understood, by the name that records have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// The message is longer than what is sent.
    TooLong,
    /// The gateway could not sign what it asks.
    Unsigned,
    /// It has an address that no call may reach.
    RefusedAddress,
    /// It could not be connected to, or the connection broke.
    Unreachable,
    /// It did not answer in time.
    Timeout,
    /// It wants somebody else to be asked.
    Redirect,
    /// It answered with another status than 200.
    Status,
    /// Its answer is too long, or says no findings.
    NotUnderstood,
}

impl Unasked {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Unsigned => "unsigned",
            Self::RefusedAddress => "refused-address",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::NotUnderstood => "not-understood",
        }
    }
}

impl Upstream {
    /// What a webhook finds in a call; nothing where it lets the call pass. `time` is now, by RFC 3339; `sign` gives the gateway's signature over a body, or
    /// nothing where there can be none.
    ///
    /// # Errors
    /// [`Unasked`].
    pub(crate) async fn ask(
        &self,
        webhook: &Webhook,
        (guard, call, time): (&str, &Call<'_>, &str),
        sign: impl FnOnce(&[u8]) -> Option<String>,
    ) -> Result<Kinds, Unasked> {
        let question = question(guard, call, time).ok_or(Unasked::TooLong)?;
        let signature = sign(question.as_bytes()).ok_or(Unasked::Unsigned)?;
        let request = Request::post(&*webhook.url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("vidimus/", env!("CARGO_PKG_VERSION")))
            .header(SIGNATURE, signature)
            .body(Full::from(question))
            .map_err(|_| Unasked::Unreachable)?;
        let literal = request.uri().host().map_or(Ok(()), |host| self.guard().check_literal(host));
        literal.map_err(|_| Unasked::RefusedAddress)?;
        let client = match &webhook.ca_file {
            None => self.0.clients.system.clone(),
            Some(file) => {
                let own = self.0.clients.own_roots.client(file, &self.0.clients.connecting);
                own.map_err(|_| Unasked::Unreachable)?
            }
        };
        let answer = async {
            let answer =
                client.request(request).await.map_err(|error| match connect::refusal(&error).code {
                    Code::UpstreamRefusedAddress => Unasked::RefusedAddress,
                    _ => Unasked::Unreachable,
                })?;
            match answer.status() {
                StatusCode::OK => {}
                status if status.is_redirection() => return Err(Unasked::Redirect),
                _ => return Err(Unasked::Status),
            }
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            findings(&body.map_err(|_| Unasked::NotUnderstood)?.to_bytes()).ok_or(Unasked::NotUnderstood)
        };
        let limit = Duration::from_millis(u64::from(webhook.timeout_ms));
        tokio::time::timeout(limit, answer).await.unwrap_or(Err(Unasked::Timeout))
    }
}

/// What is asked, in the form that OPA takes: `{"input": …}`. `None` where it is too long.
fn question(guard: &str, call: &Call<'_>, time: &str) -> Option<String> {
    let message = match call.ask.body {
        [] => None,
        body => Some(serde_json::from_slice::<&RawValue>(body).ok()?),
    };
    let (principal, resource) = (call.principal().entity(), call.ask.target.entity());
    let entity = |kind: &str, id: &str| json!({"type": kind, "id": id});
    let input = json!({
        "guard": guard,
        "time": time,
        "action": call.ask.action.as_str(),
        "method": call.ask.method,
        "principal": entity(principal.kind.as_str(), &principal.id),
        "resource": entity(resource.kind.as_str(), &resource.id),
    });
    // The message stays byte for byte as it came: a number is what it was.
    let input = input.to_string();
    let message = message.map_or("null", RawValue::get);
    let question = format!("{{\"input\":{},\"message\":{message}}}}}", input.strip_suffix('}')?);
    (question.len() <= MAX_QUESTION).then_some(question)
}

/// The findings of an answer: `{"findings": ["kind", …]}`, by itself or as the `result` that OPA answers.
fn findings(answer: &[u8]) -> Option<Kinds> {
    let answer = Json::parse(answer).ok()?;
    let findings = match (answer.get("findings"), answer.get("result")) {
        (Some(findings), None) => findings,
        (None, Some(result)) => result.get("findings")?,
        _ => return None,
    };
    let findings = findings.as_array().filter(|all| all.len() <= MOST_FINDINGS)?;
    let mut kinds = Kinds::new();
    for finding in findings {
        let kind = finding.as_str().filter(|kind| is_plain(kind))?;
        let count = kinds.entry(Cow::Owned(kind.to_owned())).or_default();
        *count = count.saturating_add(1);
    }
    Some(kinds)
}

/// Whether records may have it: a word, and nothing of a text.
fn is_plain(kind: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_FINDING).contains(&kind.len()) && kind.bytes().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use vidimus_core::call::{Action, Ask, SoFar, Target};
    use vidimus_core::caller::UnixMillis;
    use vidimus_core::resource::Network;
    use vidimus_core::resource::own_guard::OnFailure;

    use super::*;
    use crate::forward::{AddressGuard, KeepAlive};
    use crate::protocol::tests::{caller, server};

    /// Attack: a name that leads to an address that no call may reach, and such an address itself.
    #[tokio::test]
    async fn no_address_is_asked_that_no_call_may_reach() {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let denied = ["127.0.0.0/8", "::1/128"].map(|network| network.parse::<Network>().expect("a network"));
        let guard = AddressGuard { denied: denied.into(), ..AddressGuard::default() };
        let upstream = Upstream::new(guard, KeepAlive::default()).expect("roots");
        let (server, caller) = (server(), caller());
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server: &server, name: "pay" });
        let (now, so_far) = (UnixMillis(0), SoFar::nothing());
        let call = Call { caller: &caller, ask, now, source_ip: None, so_far, approvals: &[] };
        for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[fe80::1]"] {
            let url = format!("http://{host}:{port}/").into();
            let webhook = Webhook { url, ca_file: None, timeout_ms: 2_000, on_failure: OnFailure::Closed };
            let (asked, sign) =
                (("n/p/opa", &call, "2026-11-28T20:00:00Z"), |_: &[u8]| Some("a.b.c".to_owned()));
            let asked = upstream.ask(&webhook, asked, sign).await;
            assert_eq!(asked, Err(Unasked::RefusedAddress), "{host}");
        }
        listener.set_nonblocking(true).expect("non-blocking");
        assert!(listener.accept().is_err(), "nobody was asked");
    }

    #[test]
    fn a_number_is_asked_about_as_it_was_written() {
        let (server, caller) = (server(), caller());
        let ask = Ask::about("tools/call", Action::InvokeTool, Target::Tool { server: &server, name: "pay" });
        let (now, so_far) = (UnixMillis(0), SoFar::nothing());
        let asked = |body: &'static [u8]| {
            let ask = Ask { body, ..ask };
            question(
                "n/p/opa",
                &Call { caller: &caller, ask, now, source_ip: None, so_far, approvals: &[] },
                "t",
            )
        };
        let said = asked(br#"{"n": 1e2}"#).expect("a question");
        assert!(said.ends_with(r#","message":{"n": 1e2}}}"#), "{said}");
        assert!(Json::parse(said.as_bytes()).is_ok(), "{said}");
        assert!(asked(b"").is_some_and(|said| said.ends_with(r#","message":null}}"#)));
        let long = format!("\"{}\"", "x".repeat(MAX_QUESTION)).into_bytes().leak();
        assert_eq!(asked(long), None);
    }

    #[test]
    fn only_what_says_findings_is_an_answer() {
        let kinds = |given: &[(&'static str, u32)]| {
            Some(given.iter().map(|(kind, count)| (Cow::Borrowed(*kind), *count)).collect::<Kinds>())
        };
        let many = format!(r#"{{"findings": [{}"x"]}}"#, r#""x","#.repeat(MOST_FINDINGS));
        let long = format!(r#"{{"findings": ["{}"]}}"#, "x".repeat(MAX_FINDING + 1));
        for (answer, expected) in [
            (r#"{"findings": []}"#, kinds(&[])),
            (
                r#"{"findings": ["pii", "pii", "not-allowed"], "why": "x"}"#,
                kinds(&[("not-allowed", 1), ("pii", 2)]),
            ),
            (r#"{"result": {"findings": ["x"]}, "decision_id": "y"}"#, kinds(&[("x", 1)])),
            // What OPA answers where nothing is defined.
            ("{}", None),
            (r#"{"result": {}}"#, None),
            (r#"{"result": []}"#, None),
            (r#"{"result": true}"#, None),
            (r#"{"findings": [], "result": {"findings": ["x"]}}"#, None),
            (r#"{"findings": ["x"], "findings": []}"#, None),
            (r#"{"findings": null}"#, None),
            (r#"{"findings": "none"}"#, None),
            (r#"{"findings": [1]}"#, None),
            (r#"{"findings": [""]}"#, None),
            (r#"{"findings": ["my card is 4111"]}"#, None),
            (&many, None),
            (&long, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(findings(answer.as_bytes()), expected, "{answer}");
        }
    }
}
