//! Data planes that carry calls themselves, such as Envoy: they ask here whether a call may be made, and with which headers (ADR 58). What they do
//! then is not seen from here. So a call that needs more than that is refused, and nothing that a policy demands is left out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vidimus_core::call::Target;
use vidimus_core::decision::Decision;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Endpoint;
use vidimus_core::resource::limit::Measure;
use vidimus_core::resource::llm_provider::ProviderType;
use vidimus_identity::SpiffeId;

use crate::accounts::Holder;
use crate::protocol::sse::TooLong;
use crate::protocol::{Answer, DocumentChange, Expected, Parsed, mcp};

/// How often it is said that somebody does not come in: a data plane tries again and again.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Those that may ask at one address, and what they are believed.
#[derive(Debug)]
pub struct DataPlanes {
    /// By the X.509-SVID that they present, each with what its questions on their way in take of the room for bodies. Empty: whoever reaches
    /// the address, which is then loopback.
    trusted: Vec<(SpiffeId, Arc<Holder>)>,
    /// The same of whoever reaches it.
    anybody: Arc<Holder>,
    /// A caller may authenticate by the certificate that it showed to the data plane.
    pub(crate) takes_certificates: bool,
    pub(crate) raw_sessions: bool,
    /// When it was last said that somebody does not come in.
    said: Mutex<Option<Instant>>,
}

impl DataPlanes {
    /// Those that present one of these SVIDs; with none, whoever reaches the address. `takes_certificates`: what they say of a caller's
    /// certificate is believed, so that it authenticates the caller. `raw_sessions`: sessions of MCP servers pass, though nothing binds their
    /// ids to who got them.
    pub fn new(trusted: Vec<SpiffeId>, takes_certificates: bool, raw_sessions: bool) -> Self {
        let holder = || Arc::new(Holder::new());
        let trusted = trusted.into_iter().map(|id| (id, holder())).collect();
        Self { trusted, anybody: holder(), takes_certificates, raw_sessions, said: Mutex::default() }
    }

    /// Says that a TLS handshake failed, now and then: the data plane only says that nobody answers, and nothing is on record.
    pub(crate) fn not_in(&self, address: SocketAddr, error: &std::io::Error) {
        if self.is_due(Instant::now()) {
            tracing::warn!(
                %address, %error,
                fix = "a data plane comes by TLS, shows its X.509-SVID, and believes the CA of this gateway's certificate and a name that it has: transport_socket, docs/envoy.md",
                "who reaches the address of data planes does not come in: its TLS handshake failed"
            );
        }
    }

    /// Whether it is said now.
    fn is_due(&self, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_none_or(|last| now.saturating_duration_since(last) >= SAID_AGAIN);
        if due {
            *said = Some(now);
        }
        due
    }

    /// What the questions of whoever reaches the address take of the room for bodies; `None` where an SVID is asked for.
    pub(crate) fn anybody(&self) -> Option<&Arc<Holder>> {
        self.trusted.is_empty().then_some(&self.anybody)
    }

    /// What the questions of this data plane take: each has its own share, so that one leaves room for the others. `None` of one that may not ask.
    pub(crate) fn of(&self, svid: &SpiffeId) -> Option<&Arc<Holder>> {
        self.trusted.iter().find(|(id, _)| id == svid).map(|(_, holder)| holder)
    }

    /// How a call is carried that one of them asks about by this `door`.
    pub(crate) fn carried(&self, door: &'static str) -> Carried {
        Carried { door, raw_sessions: self.raw_sessions }
    }
}

/// How a call is carried, where a data plane does that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    /// What it asks by, as records say it.
    pub(crate) door: &'static str,
    /// The ids of sessions are the upstream's own.
    pub(crate) raw_sessions: bool,
}

impl Carried {
    /// Why an allowed call cannot be carried so: what it needs is done where its bytes pass.
    pub(crate) fn unable(self, decision: &Decision<'_>, parsed: &Parsed<'_>) -> Option<Refusal> {
        if let [first, ..] = decision.obligations() {
            let what = first.change.as_str();
            let message = format!("a policy demands a change (@{what}), which this data plane cannot make");
            let policies = decision.obligations().iter().map(|one| one.policy.clone()).collect();
            return Some(Refusal { policies, ..unable(message) });
        }
        if let Target::Model { provider, .. } = parsed.ask.target
            && provider.provider == ProviderType::Bedrock
        {
            return Some(unable(
                "a call of Bedrock is signed for the address that the gateway calls, and answered in frames that it reads",
            ));
        }
        if let Target::Model { provider, .. } = parsed.ask.target
            && provider.api_path.is_some()
        {
            return Some(unable(
                "the provider has the API at another path, and this data plane sends the caller's",
            ));
        }
        if decision.limits().iter().any(|limit| limit.of == Measure::Concurrency) {
            return Some(unable(
                "a limit counts the calls at once, and when this one ends is not known here",
            ));
        }
        if decision.keeps().answer {
            return Some(unable(
                "a policy has the record keep the answer, which this data plane does not bring here",
            ));
        }
        if !parsed.replaced.is_empty()
            || !parsed.dropped.is_empty()
            || parsed.instead.is_some()
            || parsed.lifted
            || parsed.webhook.is_some()
            || parsed.path.is_some()
        {
            return Some(unable(
                "the message goes on in other bytes, and this data plane sends the caller's",
            ));
        }
        match parsed.expected {
            Expected::Upstream(answer) => unable_to_verify(parsed.ask.target, answer)
                .or_else(|| self.unable_to_answer(answer, parsed.ask.method)),
            Expected::Own => None,
        }
    }

    fn unable_to_answer(self, answer: Answer, method: &str) -> Option<Refusal> {
        if method == mcp::STREAM {
            // A client takes this for a server that has no such stream, and goes on.
            return Some(Refusal::method_not_allowed("MCP behind a data plane", "POST, DELETE"));
        }
        if answer.open_ended {
            return Some(unable(
                "the answer has no end of its own, and from here this data plane's streams cannot be ended",
            ));
        }
        if answer.seals.is_some() && !self.raw_sessions {
            return Some(unable(
                "a session begins whose id could not be bound to who gets it; with --ext-authz-raw-sessions it passes",
            ));
        }
        // Of everybody's tasks, whoever asks would see all.
        let is_of_tasks = |change: &DocumentChange| {
            matches!(change, DocumentChange::McpTasks(_) | DocumentChange::A2aTasks(..))
                && change.too_long() == TooLong::EndsStream
        };
        let lists_tasks = answer.document.is_some_and(|change| is_of_tasks(&change));
        lists_tasks.then(|| {
            unable("the answer may have others' tasks in it, which this data plane does not take out")
        })
    }
}

/// A data plane sends the caller's own bytes, which let the answer have more than a limit reserved for it.
pub(crate) fn uncapped() -> Refusal {
    let message = "a limit counts tokens, and the request does not say how many its answer may have";
    Refusal::new(Code::DataPlaneUnable, message).with_next(
        "Write max_tokens (or what the API calls it) into the request, or call the gateway itself.",
    )
}

/// Why nobody but the gateway gets this card: who signed it is looked at where its bytes pass.
fn unable_to_verify(target: Target<'_>, answer: Answer) -> Option<Refusal> {
    let Target::Agent(agent) = target else { return None };
    let is_card = matches!(answer.document, Some(DocumentChange::Card { .. }));
    let what = "who signed the agent's card is looked at here, and this data plane passes it as it is";
    (is_card && agent.card_keys.is_some()).then(|| unable(what))
}

/// Why nobody but the gateway carries a call of this endpoint, whatever is asked of it.
pub(crate) fn only_here(endpoint: &Endpoint) -> Option<Refusal> {
    let why = if endpoint.job.is_some() {
        "each call of this server is a job, which only the gateway runs"
    } else if endpoint.openapi.is_some() {
        "each call of this server is a request to an API, which only the gateway makes"
    } else if endpoint.agent.is_some() {
        "each call of this server is a message to an agent, which only the gateway sends"
    } else if endpoint.grpc_tools.is_some() {
        "this server speaks gRPC, which only the gateway makes of a call"
    } else if endpoint.is_of_members() {
        "this server stands for others, which the gateway asks itself"
    } else if endpoint.tenant.is_some() {
        "each request to this agent names its tenant (spec.endpoint.tenant), which only the gateway writes"
    } else if endpoint.mcp.is_some() {
        "calls of this server are bridged between the eras of MCP (spec.endpoint.mcp), which only the gateway does"
    } else {
        return None;
    };
    Some(unable(why))
}

fn unable(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::DataPlaneUnable, message)
}

#[cfg(test)]
mod tests {
    use vidimus_core::resource::Agent;

    use super::*;
    use crate::protocol::a2a::Framing;
    use crate::protocol::a2a::sealed::Shape;
    use crate::protocol::mcp::listing::Listing;
    use crate::protocol::observe::Observe;
    use crate::seal::Kind;

    fn code(raw_sessions: bool, answer: Answer, method: &str) -> Option<Code> {
        let carried = Carried { door: "ext_authz", raw_sessions };
        carried.unable_to_answer(answer, method).map(|refusal| refusal.code)
    }

    /// Attack: one data plane, or who is behind it, fills the room for bodies, so that no other one may ask.
    #[test]
    fn each_data_plane_has_a_share_of_its_own() {
        let id = |name: &str| SpiffeId::parse(&format!("spiffe://t/{name}")).expect("an id");
        let planes = DataPlanes::new(vec![id("a"), id("b")], false, false);
        let (Some(a), Some(b)) = (planes.of(&id("a")), planes.of(&id("b"))) else { panic!("both may ask") };
        assert!(!Arc::ptr_eq(a, b));
        assert!(planes.of(&id("c")).is_none() && planes.anybody().is_none());
        assert!(DataPlanes::new(Vec::new(), false, false).anybody().is_some());
    }

    /// Attack: somebody who knocks and does not come in, again and again, so that the log has nothing else.
    #[test]
    fn that_somebody_does_not_come_in_is_said_now_and_then() {
        let planes = DataPlanes::new(Vec::new(), false, false);
        let now = Instant::now();
        for (after, is_due) in [(0, true), (1, false), (59, false), (60, true), (61, false)] {
            assert_eq!(planes.is_due(now + Duration::from_secs(after)), is_due, "{after}");
        }
    }

    #[test]
    fn an_answer_that_has_to_be_held_or_ended_here_is_refused_and_any_other_passes() {
        let pass = Answer::pass(Observe::Rpc);
        let document = |change| Answer { document: Some(change), ..pass };
        let unable = Some(Code::DataPlaneUnable);
        for (answer, method, expected) in [
            (pass, "tools/call", None),
            (document(DocumentChange::Listing(Listing::Tools)), "tools/list", None),
            (document(DocumentChange::Card { rpc: false }), "card", None),
            (document(DocumentChange::A2aTasks(Shape::Sent, Framing::Rpc)), "SendMessage", None),
            (document(DocumentChange::A2aTasks(Shape::Tasks, Framing::Rpc)), "ListTasks", unable),
            (document(DocumentChange::McpTasks(TooLong::Passes)), "tools/call", None),
            (document(DocumentChange::McpTasks(TooLong::EndsStream)), "tasks/list", unable),
            (Answer { open_ended: true, ..pass }, "subscriptions/listen", unable),
            (Answer { open_ended: true, ..pass }, mcp::STREAM, Some(Code::MethodNotAllowed)),
        ] {
            assert_eq!(code(false, answer, method), expected, "{method}");
        }
        let begins = Answer { seals: Some((mcp::SESSION_HEADER, Kind::Session)), ..pass };
        assert_eq!(code(false, begins, "initialize"), unable);
        assert_eq!(code(true, begins, "initialize"), None, "where that is what was wanted");
    }

    #[test]
    fn a_card_that_has_to_be_verified_is_not_left_to_a_data_plane() {
        let (plain, card) = (Answer::pass(Observe::Rpc), Some(DocumentChange::Card { rpc: false }));
        let agent = |keys: Option<&str>| {
            Arc::new(Agent { card_keys: keys.map(Into::into), ..(*crate::protocol::tests::agent()).clone() })
        };
        let (open, held) = (agent(None), agent(Some("{}")));
        let is_unable =
            |agent, document| unable_to_verify(Target::Agent(agent), Answer { document, ..plain }).is_some();
        assert!(is_unable(&held, card));
        assert!(!is_unable(&open, card) && !is_unable(&held, None));
    }
}
