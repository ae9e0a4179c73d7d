//! Why a call was refused, as data: a stable code, the reason, and what to do next.

use std::borrow::Cow;
use std::sync::Arc;

use crate::resource::limit::Measure;

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, $class:ident, $next:literal; )+) => {
        /// Stable codes; docs/codes.md is generated from here. A code never changes its meaning; texts may.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[doc = $doc])+ $variant, )+ }

        impl Code {
            /// Every code, in the order of the way of a call.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The code as it stands in replies, records and metrics.
            pub const fn as_str(self) -> &'static str { match self { $( Self::$variant => $text, )+ } }

            /// What kind of refusal it is, from which each protocol derives its own status.
            pub const fn class(self) -> Class { match self { $( Self::$variant => Class::$class, )+ } }

            /// What it means: the sentence at its name.
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+).trim_ascii(), )+ }
            }

            /// What the caller, or whoever operates it, should do next.
            pub const fn next(self) -> &'static str { match self { $( Self::$variant => $next, )+ } }
        }
    };
}

impl Code {
    /// Whether an act was not done for what stands: it does not fit that, or what it names is not there. Of several who do the same, all but
    /// the first get one of these.
    pub const fn is_of_standing(self) -> bool {
        matches!(self, Self::ActUnfit | Self::IdUnknown)
    }

    /// Whether nothing of a call was sent that ended by this: it takes nothing of any limit.
    pub const fn is_of_unsent(self) -> bool {
        matches!(
            self,
            Self::UpstreamUnreachable
                | Self::UpstreamRefusedAddress
                | Self::Overloaded
                | Self::ArgumentsInvalid
                | Self::EraUnbridged
        )
    }

    /// The same of a code as a record has it.
    pub fn is_text_of_unsent(text: &str) -> bool {
        Self::ALL.iter().any(|code| code.is_of_unsent() && code.as_str() == text)
    }
}

/// The kind of a refusal. The HTTP status in parentheses is what the gateway answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request is malformed (400).
    Invalid,
    /// Nobody, or nobody registered, is calling (401).
    Unauthenticated,
    /// Known caller, not permitted (403).
    Forbidden,
    /// No such route, object or method (404).
    NotFound,
    /// The HTTP method does not exist here (405).
    MethodNotAllowed,
    /// What is asked for does not fit what stands, or a rule that holds whatever policies say (409).
    Conflict,
    /// Too large (413).
    TooLarge,
    /// More than a limit has room for (429).
    TooMany,
    /// The headers are too large (431).
    HeadersTooLarge,
    /// Too slow (408).
    TooSlow,
    /// The gateway cannot do it safely now (503).
    Unavailable,
    /// The upstream failed (502).
    BadUpstream,
    /// The upstream was too slow (504).
    UpstreamTimeout,
}

impl Class {
    /// Its name in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::MethodNotAllowed => "method not allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too large",
            Self::TooMany => "too many",
            Self::HeadersTooLarge => "headers too large",
            Self::TooSlow => "too slow",
            Self::Unavailable => "unavailable",
            Self::BadUpstream => "bad upstream",
            Self::UpstreamTimeout => "upstream timeout",
        }
    }

    /// The HTTP status code (RFC 9110 section 15).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::TooMany => 429,
            Self::HeadersTooLarge => 431,
            Self::BadUpstream => 502,
            Self::Unavailable => 503,
            Self::UpstreamTimeout => 504,
        }
    }
}

codes! {
    // -- the request itself
    /// The request is not one message of HTTP that has one meaning: its Host, its framing or its syntax.
    RequestMalformed = "request_malformed", Invalid, "Send one valid Host, no transfer coding but chunked, and what RFC 9112 or RFC 9113 allows; look at what is between you and the gateway.";
    /// The address or the headers of the request are longer than is read.
    HeadersTooLarge = "headers_too_large", HeadersTooLarge, "Send fewer or shorter headers: 64 KiB in all.";
    /// The path is not below a route of this gateway.
    RouteUnknown = "route_unknown", NotFound, "Use /mcp/{namespace}/{name}, /a2a/{namespace}/{name}, /llm/{namespace}/{name}/… or /rest/{namespace}/{name}/… of a registered object; `vidimus check` lists them.";
    /// The path is a route, and does not serve this HTTP method.
    MethodNotAllowed = "method_not_allowed", MethodNotAllowed, "Use an HTTP method that this route serves.";
    /// The body of the request is larger than a message may be.
    BodyTooLarge = "body_too_large", TooLarge, "Send a smaller body, or raise --max-body.";
    /// The headers or the body did not arrive in time.
    RequestTooSlow = "request_too_slow", TooSlow, "Send the whole request within the time limit.";
    /// The body is not UTF-8.
    BodyNotUtf8 = "body_not_utf8", Invalid, "Send JSON encoded as UTF-8 (RFC 8259 section 8.1).";
    /// The body is not one JSON document.
    BodyNotJson = "body_not_json", Invalid, "Send one valid JSON document.";
    /// An object in the body has a member twice, or two whose names differ only by case.
    DuplicateKey = "duplicate_key", Invalid, "Send every object key once: two parsers may read a duplicate differently.";
    /// The body is a list of JSON-RPC messages.
    BatchNotSupported = "batch_not_supported", Invalid, "Send one JSON-RPC message per request: batches were in MCP 2025-03-26 alone, whose other messages are served, and are not part of A2A.";
    /// The body is JSON, and not a message of the protocol that can be understood whole.
    MessageInvalid = "message_invalid", Invalid, "Send a message that follows the protocol's schema.";
    /// A header of the protocol says something else than the body, or something that the body does not say.
    HeaderMismatch = "header_mismatch", Invalid, "Make the header agree with the body, or leave the header out where the protocol allows it.";
    /// A member names something to run beside what is decided, such as a list of models to fall back to.
    MemberUndecided = "member_undecided", Invalid, "Leave the member out: one decision covers one tool, model or skill. Make a call for each.";
    /// The request names a version of its protocol that this gateway does not serve.
    ProtocolVersionUnsupported = "protocol_version_unsupported", Invalid, "Use a protocol version that this gateway serves.";
    /// The parameters are not what the method takes: they lack what each request of MCP 2026-07-28 says of itself, or whoever was asked finds them wrong.
    ParamsInvalid = "params_invalid", Invalid, "Send the parameters that the method has, and in MCP 2026-07-28 in params._meta of each request io.modelcontextprotocol/protocolVersion and io.modelcontextprotocol/clientCapabilities, an object.";
    /// The message asks for a method that the protocol does not have in this version.
    MethodUnknown = "method_unknown", NotFound, "Use a method of the protocol; what cannot be understood cannot be governed.";
    /// The call came over gRPC, and its message is compressed, which is not read.
    CompressionUnserved = "compression_unserved", MethodNotAllowed, "Send the message as it is (grpc-encoding: identity), as clients do that read grpc-accept-encoding of this answer.";
    /// The agent is not served in the binding that the request is in: its record has no address for that.
    BindingUnserved = "binding_unserved", NotFound, "Use a binding that the agent's card at this gateway names; or have its record say where the agent serves this one (spec.endpoint.rest for HTTP+JSON, spec.endpoint.url for JSON-RPC).";
    /// Who is called speaks another API, or another version of A2A, which cannot say something that the request says.
    NoEquivalent = "no_equivalent", Invalid, "The model is of a provider that speaks another API than the request, or the agent speaks another version of A2A. Leave out the member that is named, or call one of your own API or version; docs/clients.md has what is translated.";
    /// Caller and server speak different eras of MCP, and what is asked for has no like in the server's, or what the bridge held for it is gone.
    EraUnbridged = "era_unbridged", Conflict, "Look at the reason: use a client of the era that the server speaks (spec.endpoint.mcp), or, where the bridge had held something, make the call anew.";
    /// The request comes from a page of a browser, of an origin that is not allowed.
    OriginRefused = "origin_refused", Forbidden, "Browser origins are refused unless allowed with --allow-origin.";
    // -- who is calling
    /// The request has neither a token nor a client certificate.
    CredentialMissing = "credential_missing", Unauthenticated, "Present a bearer token from an allow-listed issuer, or an X.509-SVID over mTLS.";
    /// The credentials prove more than one principal, or an identity that several registered objects claim.
    CredentialAmbiguous = "credential_ambiguous", Unauthenticated, "Authenticate by exactly one identity of one principal.";
    /// The credential is good, and several registered objects claim the identity that it proves, or one that is not in force.
    IdentityContested = "identity_contested", Unauthenticated, "Whoever keeps the records: take this identity out of all objects but one (`vidimus check` names their places), or rename it in one of them.";
    /// The bearer token is not a signed JWT that can be read.
    TokenMalformed = "token_malformed", Unauthenticated, "Present a signed JWT (RFC 7519).";
    /// The token is signed with an algorithm that is not allowed.
    TokenAlgorithm = "token_algorithm", Unauthenticated, "Sign with an allowed asymmetric algorithm: RS256, RS384, RS512, PS256, ES256, ES384 or EdDSA.";
    /// The token's issuer is not one that a registered object names.
    TokenIssuer = "token_issuer", Unauthenticated, "Register the issuer on the principal's identity; there is no any-issuer mode.";
    /// The issuer publishes no key of the token's key id.
    TokenKeyUnknown = "token_key_unknown", Unauthenticated, "Use a key that the issuer publishes in its JWKS.";
    /// The token was not signed by the issuer's key.
    TokenSignature = "token_signature", Unauthenticated, "Get a new token from the issuer; this one was not signed by it.";
    /// The token is of a pod that is not there any more.
    PodGone = "pod_gone", Unauthenticated, "Call from a pod that runs, with the token that is mounted there (it is renewed there); a copy of the token of a deleted pod is good for nothing.";
    /// The token is of a pod that was never seen, and which pods there are has not been heard of for too long.
    PodUnknown = "pod_unknown", Unavailable, "The gateway has not heard of the cluster's pods for longer than --pods-lost-after, so it cannot tell a new pod from a token of one that is gone; `/readyz` and `vidimus pods` say why. Bring the API server back.";
    /// The token was good, and is no more.
    TokenExpired = "token_expired", Unauthenticated, "Get a new token from the issuer.";
    /// The token will be good later (nbf, or iat in the future).
    TokenNotYetValid = "token_not_yet_valid", Unauthenticated, "Check the clocks of the issuer and of the gateway.";
    /// The token is meant for somebody else than this gateway.
    TokenAudience = "token_audience", Unauthenticated, "Get a token whose audience is this gateway.";
    /// A token that the gateway minted for one hop was presented by somebody else than the agent it was minted for.
    TokenDestination = "token_destination", Unauthenticated, "A per-hop token is good only for the agent it was minted for; get your own.";
    /// The keys of the token's issuer are not known, and could not be fetched.
    IssuerUnreachable = "issuer_unreachable", Unavailable, "The issuer's keys could not be fetched; check the issuer and try again.";
    /// The credential is good, and nothing is registered with its identity.
    PrincipalUnknown = "principal_unknown", Unauthenticated, "Register this identity on an Agent or ServiceIdentity.";
    /// The call came through an actor that is taken out of use.
    ActorRevoked = "actor_revoked", Forbidden, "An actor of the token's chain is quarantined, contested or not registered any more; begin a new chain without it, or have its record put right.";
    /// The call is made for a person whose issuer the principal does not act for.
    UserNotAllowed = "user_not_allowed", Unauthenticated, "List the user's issuer under actsFor of the principal.";
    /// The token is not that of a person: it is of a workload, also where that acts for a person.
    PersonRequired = "person_required", Unauthenticated, "What people do needs their own token: of an issuer given with --operator-issuer, or from `vidimus identity operator`.";
    /// The certificate or JWT-SVID is not one that the trust bundle of its trust domain proves.
    SvidInvalid = "svid_invalid", Unauthenticated, "Present an SVID (X.509, or a JWT as bearer token) with exactly one SPIFFE ID, issued under the trust bundle of its trust domain.";
    // -- what is decided
    /// Nothing of this kind and name is registered, or it cannot be called.
    ResourceUnknown = "resource_unknown", NotFound, "Register the object, or use one that is registered.";
    /// Several objects have the name that was asked for, so none of them is used.
    NameContested = "name_contested", NotFound, "Several records have this name, so none of them is used; whoever keeps the records: rename one of them, or delete it.";
    /// No policy permits the call.
    NoPermit = "no_permit", Forbidden, "Nothing is allowed until a policy permits it; `vidimus policy explain` shows the closest permits.";
    /// A policy forbids the call.
    ForbiddenByPolicy = "forbidden_by_policy", Forbidden, "A forbid policy refused the call; ask its owner, or change the request.";
    /// A limit of a policy has no room for the call: it takes more than is left.
    LimitExceeded = "limit_exceeded", TooMany, "Wait until the limit named here has room again (Retry-After says when, where that is known), or ask the owner of its policy for more.";
    /// A policy wants a person's approval first.
    ApprovalRequired = "approval_required", Forbidden, "A policy asks for the approval of a person; get it approved, then make the same call again.";
    /// A person denied this very call.
    ApprovalDenied = "approval_denied", Forbidden, "A person looked at this call and denied it; make another one, or ask who denied it. It may be asked again when the question's time is over.";
    /// The server says something else of the tool than it said when people were asked about the call, so their approval is void.
    ToolChanged = "tool_changed", Forbidden, "The server changed the tool after people were asked about this call, and their approval is void; make the same call again: they are asked anew, with what the server says now.";
    /// What the server says of the tool could not be found out, so people can neither be asked about the call, nor what they approved be made, nor what is pinned be called.
    ToolUnverified = "tool_unverified", BadUpstream, "A call that people approve, and one of a tool that is pinned, is bound to what the server says of the tool (tools/list), and it did not say; look at the server, and at what policies let the caller do there (connectServer), then make the call again.";
    /// The tool is not what the record of its server pins, or is not pinned there.
    ToolDrifted = "tool_drifted", Forbidden, "The server's record pins what its tools are (spec.integrity), and this one is something else, or not among them; see what changed with `vidimus pin --diff`, and whoever keeps the record: pin it again, or have the server put right.";
    /// The arguments are not what the schema of the tool lets them be: of a pinned one, or of an operation of an API.
    ArgumentsInvalid = "arguments_invalid", Forbidden, "Send the arguments as the tool's input schema has them (tools/list); of a server that speaks MCP, whoever keeps its record may hold them to nothing (spec.integrity.arguments).";
    /// The result is not what the schema of the pinned tool says that it is, and did not pass. The call was carried out.
    ResultInvalid = "result_invalid", Forbidden, "The tool answered with something else than its output schema describes (tools/list), and the call was carried out; whoever keeps the server's record: have the server put right, or hold results to nothing (spec.integrity.results).";
    /// A policy that may decide the call could not be evaluated.
    PolicyError = "policy_error", Forbidden, "A policy failed to evaluate, which denies; fix the policy named here.";
    /// An argument is there in a form that policies cannot see exactly, and must not pass as if it were absent.
    Unrepresentable = "unrepresentable", Forbidden, "Send the argument as policies see it (docs/policies.md, Arguments), or let such arguments of this tool pass (spec.tools.*.unseenArguments of its MCPServer).";
    /// The call is a hop deeper in its chain than is allowed.
    DelegationTooDeep = "delegation_too_deep", Forbidden, "No chain grows deeper than 16 hops, and the agent's record may allow fewer (spec.delegation.maxDepth).";
    /// The agent has reached as many destinations in this chain as its record allows.
    DelegationTooWide = "delegation_too_wide", Forbidden, "The agent's record limits how many destinations one chain may reach (spec.delegation.maxFanOut).";
    /// The call is beyond a limit of the agent's record on what its chain may come to. That ends the chain.
    ChainLimit = "chain_limit", Forbidden, "The chain of calls has come to more than the agent's record allows (spec.delegation), and is ended; begin a new one if the work is to go on.";
    /// The chain was ended by a limit or a policy, and makes no call any more.
    ChainEnded = "chain_ended", Forbidden, "This chain of calls was ended by the limit named here; begin a new one if the work is to go on, without the tokens of this one.";
    /// The call was allowed, and would be refused now, so it was not sent, or its answer was cut.
    Revoked = "revoked", Forbidden, "The configuration changed while the call was under way, or the time ended in which it is permitted; find out which (`vidimus policy explain` tells of windows), then call again.";
    /// The MCP session, or the event to resume from, is not one that the gateway gave to this caller on this route.
    SessionForeign = "session_foreign", NotFound, "This session belongs to somebody else or has ended; initialize a new one.";
    /// The task, the context or the state of a held request is not one that the gateway gave to this caller on this route.
    TaskForeign = "task_foreign", NotFound, "This task belongs to somebody else, or nobody knows it; use the id that you got through this gateway, as the same caller.";
    /// News of a task were sent to an address that the gateway did not give to this agent for them, or that is closed.
    PushForeign = "push_foreign", NotFound, "Send news of a task to the address that came with its configuration, as the agent that got it, for as long as its caller wants them: deleting the configuration closes it, and so do seven days.";
    /// The grant by which alone the call would be allowed has no uses left, or was just revoked.
    GrantSpent = "grant_spent", Forbidden, "Ask for another grant: make the call again with the header Vidimus-Request-Grant, which says why.";
    /// There is no approval, grant, request or call of the id that was given, or it is not kept any more.
    IdUnknown = "id_unknown", NotFound, "Look at what stands (`vidimus approvals list`, `vidimus grant list`), and take the id from there.";
    /// The act does not fit what stands, or a rule that holds whatever policies say: what it would undo was undone already, or it is done by whom it concerns.
    ActUnfit = "act_unfit", Conflict, "Look at what stands now (`vidimus quarantine list`, `vidimus approvals list`, `vidimus grant list`), and act upon that.";
    /// An object that is to be registered is malformed, or does not fit what is registered. The API server of a cluster is told so.
    ObjectInvalid = "object_invalid", Invalid, "Correct the fields that are named, and apply it again; `vidimus check` says the same of a file.";
    /// A policy demands a change of the call or of its answer, and it could not be made for sure. Of an answer: the call was carried out.
    ChangeImpossible = "change_impossible", Forbidden, "A policy redacts or caps this call (docs/policies.md, Changes), and what it changes could not be found; where that was the answer, the call was carried out. Send the call in the protocol's own form, or have the tool answer with JSON.";
    /// The data plane that would carry the call only asks here, and what the call needs it cannot do or does not tell: changed bytes, a changed or kept answer, an end of its stream.
    DataPlaneUnable = "data_plane_unable", Forbidden, "Make this call at the gateway's own address (--listen, --tls-listen), which carries it itself; docs/envoy.md says what a data plane that asks cannot do.";
    // -- what can be done now
    /// The record of the call could not be written.
    LedgerClosed = "ledger_closed", Unavailable, "The gateway cannot write its record, so it lets nothing pass; look at its disk and log.";
    /// What is to be recorded of the call does not fit a record.
    RecordTooLarge = "record_too_large", TooLarge, "Send shorter names and arguments, or have fewer policies decide one call: what decided it must fit a record of 65,535 bytes.";
    /// What the configuration is read from was not heard of for longer than the record of the route allows.
    ConfigStale = "config_stale", Unavailable, "The gateway has not heard of its source (the API server) for too long; `/readyz` and the record say why. Bring that back, or raise spec.endpoint.staleAfter of the object.";
    /// What a limit or a policy counts over several calls cannot be known now: the store that replicas share does not answer, or lost what it had.
    StandingUnavailable = "standing_unavailable", Unavailable, "The store of what gateways share (--standing) does not answer, or began anew while the chain was under way; calls that nothing is counted of go on. Try again later, or begin a new chain.";
    /// As much as can be held at once is held already: bodies, streams, chains, or records that wait for the disk.
    Overloaded = "overloaded", Unavailable, "Try again later with fewer concurrent requests.";
    /// The key that the gateway holds for the provider could not be read.
    CredentialUnavailable = "credential_unavailable", Unavailable, "The provider's key could not be read; check spec.credential of the LLMProvider.";
    /// The provider refused the key that the gateway holds for it. The caller's own token is good.
    CredentialRefused = "credential_refused", BadUpstream, "The provider does not take the gateway's key; whoever operates it: look at spec.credential of the LLMProvider, and put a key there that it takes.";
    /// No connection to the upstream came about, so nothing of the call was sent.
    UpstreamUnreachable = "upstream_unreachable", BadUpstream, "The upstream did not accept a connection, so nothing was sent; check the address in its record (spec.endpoint, spec.grpc or spec.openapi) and the server.";
    /// The connection broke when the call may have been sent, or before its answer ended.
    UpstreamInterrupted = "upstream_interrupted", BadUpstream, "The connection broke after the call was sent, so it may have been carried out; find out at the upstream before you repeat it.";
    /// The upstream's name leads to an address that may not be called.
    UpstreamRefusedAddress = "upstream_refused_address", BadUpstream, "The endpoint resolves to an address that is not allowed; see spec.endpoint and --deny-upstream.";
    /// The upstream took the call, and did not answer in time.
    UpstreamTimeout = "upstream_timeout", UpstreamTimeout, "The upstream did not answer in time; the call may have been carried out, so find out before you repeat it.";
    /// The upstream's answer is not one of its protocol, so what it says cannot be governed.
    UpstreamInvalid = "upstream_invalid", BadUpstream, "The upstream's answer could not be understood, so it was not passed on; the call may have been carried out. Look at what the upstream answers.";
    /// The agent's card is not signed by a key of its record, or says something else than was signed.
    CardUnverified = "card_unverified", BadUpstream, "The agent's record names the keys that sign its card (spec.card.keys), and what the agent serves is signed by none of them; look at who serves the card, or whoever keeps the record: put the agent's present key there.";
    /// The gateway was stopped, and the time that running calls had to end is over.
    GatewayStopping = "gateway_stopping", Unavailable, "The gateway was stopped before the answer ended; the call may have been carried out, so find out before you repeat it.";
    /// The gateway met a state that it should not have been in.
    Internal = "internal", Unavailable, "This is a fault of Vidimus; report it with the call id.";
}

/// A refusal as it goes to the caller and into the record.
///
/// `message` is public: it must not contain secrets or upstream details. `detail` goes to log and record only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// Why, in public words.
    pub message: Cow<'static, str>,
    /// What to do next, where more is known than [`Code::next`] says. Public, like `message`.
    pub next: Option<&'static str>,
    /// The policies that refused (or came closest), empty where no policy was asked.
    pub policies: Box<[Arc<str>]>,
    /// For log and record.
    pub detail: Option<Box<str>>,
    /// What a credential proved, though it was not enough. For the record only.
    pub proven: Option<Box<Verified>>,
    /// What is served in place of what was asked for. Public.
    pub served: Option<Box<Served>>,
    /// What a held call waits for. Public.
    pub awaited: Option<Box<Awaited>>,
    /// Which limit has no room. Public.
    pub limited: Option<Box<Limited>>,
    /// What the upstream had answered, where it is refused for its answer. Public.
    pub upstream: Option<Box<Answered>>,
}

/// What is told of an upstream's answer that does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its HTTP status.
    pub status: u16,
    /// When it wants to be asked again (`Retry-After`, RFC 9110 section 10.2.3), as it said.
    pub retry_after: Option<Box<str>>,
}

/// A limit that has no room for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Its id: `namespace/policy/name`.
    pub limit: Box<str>,
    /// In how many seconds there is room for the same again, if nothing else is taken; `None` where there never is.
    pub retry_after: Option<u32>,
    /// How much of it there is.
    pub room: Option<Room>,
}

/// How much of a limit there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub of: Measure,
    /// In all.
    pub amount: i64,
    /// Before the call that does not fit.
    pub left: i64,
}

/// What a held call waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The id of the approval.
    pub approval: Box<str>,
    /// In how many seconds the caller may look again, by making the same call.
    pub retry_after: u32,
}

/// What is served in place of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// With `method_not_allowed`: the HTTP methods, as in `GET, POST`.
    Methods(Cow<'static, str>),
    /// With `protocol_version_unsupported`.
    Versions {
        /// The one that was asked for.
        requested: Box<str>,
        /// Those that are served where it was, newest first.
        supported: Vec<&'static str>,
    },
}

/// Whom a verified credential names. Never of a token whose signature, times or audience did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// As in [`crate::caller::Proven::identity`].
    pub identity: Arc<str>,
    /// As in [`crate::caller::Proven::instance`].
    pub instance: Option<Arc<crate::caller::Instance>>,
    /// `issuer#subject` of the person that the caller would have acted for.
    pub user: Option<Arc<str>>,
}

impl Refusal {
    /// A refusal with its code and public words.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            next: None,
            policies: Box::default(),
            detail: None,
            proven: None,
            upstream: None,
            served: None,
            awaited: None,
            limited: None,
        }
    }

    /// The HTTP status that says it: that of the class, or the upstream's own error status, which clients act upon. What is about the
    /// gateway's credential, as 401 and 407 are, would have the caller look at its own.
    pub fn http_status(&self) -> u16 {
        let said = self.upstream.as_ref().map(|answered| answered.status);
        let is_of_credential = |status| matches!(status, 401 | 407) || self.code == Code::CredentialRefused;
        said.filter(|status| *status >= 400 && !is_of_credential(*status))
            .unwrap_or(self.code.class().http_status())
    }

    /// An HTTP method that is not served here; `allow` lists those that are, separated by ", " (RFC 9110 section 15.5.6).
    pub fn method_not_allowed(what: &str, allow: impl Into<Cow<'static, str>>) -> Self {
        let allow = allow.into();
        let message = format!("{what} is served by {allow}");
        Self { served: Some(Box::new(Served::Methods(allow))), ..Self::new(Code::MethodNotAllowed, message) }
    }

    /// What the caller, or whoever operates it, should do next.
    pub fn next(&self) -> &'static str {
        self.next.unwrap_or(self.code.next())
    }

    /// Says what to do next in other words than the code's own.
    #[must_use]
    pub fn with_next(mut self, next: &'static str) -> Self {
        self.next = Some(next);
        self
    }

    /// Adds who was proven all the same, so that the record can be found by it.
    #[must_use]
    pub fn of(mut self, verified: Verified) -> Self {
        self.proven = Some(Box::new(verified));
        self
    }

    /// Adds which versions are served.
    #[must_use]
    pub fn with_versions(mut self, requested: &str, supported: Vec<&'static str>) -> Self {
        self.served = Some(Box::new(Served::Versions { requested: requested.into(), supported }));
        self
    }

    /// Adds what the operator should see and the caller should not.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over an error that they are done with")]
    pub fn with_detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string().into());
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Refusal {}
