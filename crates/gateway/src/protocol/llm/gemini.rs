//! Gemini's wire: its API of `generativelanguage.googleapis.com`, `v1` and `v1beta`. The model stands in the path; a stream is one of events
//! (`?alt=sse`) or one list, whose members come one after another.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use serde_json::json;
use url::form_urlencoded;
use vidimus_core::call::{Call, Destination};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::{Asked, COUNT, EMBED, GENERATE, UNSAID, extras, invalid, is_path_segment, kept};
use crate::gate::Limits;
use crate::protocol::beside::{check_is_other, is_given, plain, undecided};
use crate::protocol::members::{Replaced, quoted};
use crate::protocol::observe::Observe;
use crate::protocol::{Answer, Binding, Message, Operation, Parsed};
use crate::reply;

/// Gemini.
#[derive(Debug)]
pub struct Gemini;

const LISTINGS: [&str; 2] = ["/v1/models", "/v1beta/models"];

/// What may be asked of a model.
#[derive(Debug)]
struct Verb {
    name: &'static str,
    method: &'static str,
    streams: bool,
}

static VERBS: [Verb; 5] = [
    Verb { name: "generateContent", method: GENERATE, streams: false },
    Verb { name: "streamGenerateContent", method: GENERATE, streams: true },
    Verb { name: "countTokens", method: COUNT, streams: false },
    Verb { name: "embedContent", method: EMBED, streams: false },
    Verb { name: "batchEmbedContents", method: EMBED, streams: false },
];

/// What to do about a model whose name would have to be escaped.
const BY_ALIAS: &str = "Ask for the model by an alias of letters, digits, '-', '_' and '.' (spec.aliases of the LLMProvider); its own name cannot stand in this path.";

/// What its SDKs send (`google-genai` for Python, `@google/genai`), and the trace.
const PASSED_HEADERS: [&str; 5] = ["accept", "user-agent", "x-goog-api-client", "x-request-id", "tracestate"];

/// The members of a request that are read here.
const READ: [&str; 7] = [
    "cachedContent",
    "continuationToken",
    "generateContentRequest",
    "generationConfig",
    "model",
    "requests",
    "tools",
];

/// The members of its configuration that are.
const OF_CONFIG: [&str; 2] = ["maxOutputTokens", "candidateCount"];

impl Binding for Gemini {
    fn key_headers(&self, _path: &str) -> &'static [&'static str] {
        &["x-goog-api-key"]
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.model_body
    }

    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn passed_query(&self) -> &'static [&'static str] {
        &["alt=sse"]
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        if let Some(listing) = LISTINGS.iter().find(|listing| **listing == path) {
            return super::only("GET", method, path)
                .map(|()| Operation { has_body: false, path: (*listing).into() });
        }
        let Some(named) = Named::of(path) else {
            if let Some(about) = super::about_a_model(&LISTINGS, method, path) {
                return Ok(about);
            }
            let paths =
                VERBS.iter().flat_map(|verb| LISTINGS.map(|listing| path_of(listing, "{model}", verb)));
            let paths: Vec<String> = paths.collect();
            let served: Vec<&str> = paths.iter().map(String::as_str).chain(LISTINGS).collect();
            let refusal = super::not_served(path, &served, "the route's name, without /v1beta");
            let is_of_name = super::shapes::Shape::of_path(path).is_some();
            return Err(if is_of_name { refusal.with_next(BY_ALIAS) } else { refusal });
        };
        let path = named.with(named.model);
        super::only("POST", method, &path).map(|()| Operation { has_body: true, path: path.into() })
    }

    /// A key in the query stands in every log on the way; and what has the answer come in another form is not read.
    fn lifted(&self, _: &Destination, parts: &Parts, _rest: &str, body: &Bytes) -> Result<Bytes, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let mut forms = 0;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("key" | "access_token" | "oauth_token", _) => {
                    return Err(Refusal::new(Code::CredentialAmbiguous, "the query has a credential")
                        .with_next("Send your token in x-goog-api-key or Authorization alone; the gateway has the provider's key."));
                }
                ("alt", "sse" | "json") => forms += 1,
                ("alt" | "$alt" | "callback" | "$callback" | "prettyPrint" | "fields" | "$fields", _) => {
                    return Err(invalid(
                        "the query asks for another form of the answer; only alt=sse and alt=json are served",
                    ));
                }
                _ => {}
            }
        }
        if forms > 1 { Err(invalid("the query has alt twice")) } else { Ok(body.clone()) }
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        if let Some(listing) = super::listing(message, &LISTINGS) {
            return listing;
        }
        let named = Named::of(message.path).ok_or_else(super::not_governed)?;
        let body = message.body()?;
        check(body, named.model)?;
        kept::check(body)?;
        let Verb { method, streams, .. } = *named.verb;
        let asked = Asked { method, name: named.model, most: most(body), streaming: streams };
        let (ask, model) = super::ask(message, asked)?;
        let mut parsed = Parsed::new(ask, Answer::pass(Observe::Model));
        parsed.lifted = !super::shapes::is_native(super::provider(message)?, message.path);
        if *model.name != *named.model {
            parsed.path = Some(named.with(&model.name).into());
            parsed.replaced = renamed(body, &model.name)?;
        }
        Ok(parsed)
    }

    fn own_answer(&self, call: &Call<'_>, world: &Snapshot, model: Option<&str>) -> Option<String> {
        let (_, names) = super::callable(call, world)?;
        let asked = model;
        let model = |name: &str| json!({"name": format!("models/{name}"), "displayName": name});
        if let Some(name) = asked {
            return names.contains(&name).then(|| model(name).to_string());
        }
        let shown: Vec<_> = names.into_iter().map(model).collect();
        Some(json!({"models": shown}).to_string())
    }

    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        let status = refusal.http_status();
        let mut error = json!({
            "code": status,
            "message": reply::sentence(refusal),
            "status": kind(refusal.code.class()),
            "vidimus": reply::about(refusal, call),
        });
        // Google's clients look there for when to come again (AIP-193, `google.rpc.RetryInfo`).
        let seconds = refusal.limited.as_ref().and_then(|limited| limited.retry_after);
        if let (Some(seconds), Some(error)) = (seconds, error.as_object_mut()) {
            let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")});
            error.insert("details".to_owned(), json!([info]));
        }
        super::not_to_be_repeated(refusal, reply::json(status, json!({"error": error}).to_string()))
    }
}

/// What a path names.
#[derive(Clone, Copy, Debug)]
struct Named<'p> {
    listing: &'static str,
    model: &'p str,
    verb: &'static Verb,
}

impl<'p> Named<'p> {
    /// `None` of a path that is not served. What would have to be escaped names no model.
    fn of(path: &'p str) -> Option<Self> {
        let below = |listing: &'static str| Some((listing, path.strip_prefix(listing)?.strip_prefix('/')?));
        let (listing, below) = LISTINGS.into_iter().find_map(below)?;
        let (model, verb) = below.rsplit_once(':')?;
        let verb = VERBS.iter().find(|known| known.name == verb)?;
        is_path_segment(model).then_some(Self { listing, model, verb })
    }

    /// The same path with a model of this name.
    fn with(&self, model: &str) -> String {
        path_of(self.listing, model, self.verb)
    }
}

fn path_of(listing: &str, model: &str, verb: &Verb) -> String {
    format!("{listing}/{model}:{}", verb.name)
}

/// Refuses a request that says of another model than its path, or that names something to run beside it.
fn check(request: &Json<'_>, model: &str) -> Result<(), Refusal> {
    let members = request.as_object().ok_or_else(|| invalid("a request must be an object"))?;
    for (name, value) in members.iter().filter(|(name, value)| is_given(value) || !READ.contains(&&**name)) {
        match &**name {
            "model"
                if value
                    .as_str()
                    .is_some_and(|said| said.strip_prefix("models/").unwrap_or(said) == model) => {}
            "model" => return Err(invalid("member \"model\" is not the model that the path names")),
            // What is kept at the provider is whoever's has the gateway's key, and of whatever model it was made for.
            "cachedContent" | "continuationToken" => return Err(undecided(name, "model")),
            "generateContentRequest" => check(value, model)?,
            "requests" => {
                let requests =
                    value.as_array().ok_or_else(|| invalid("member \"requests\" must be a list"))?;
                requests.iter().try_for_each(|request| check(request, model))?;
            }
            "generationConfig" => check_config(value)?,
            "tools" => {
                let tools = value.as_array().ok_or_else(|| invalid("member \"tools\" must be a list"))?;
                tools.iter().try_for_each(extras::of_tool)?;
            }
            name => extras::check_other(name, value, &[READ.as_slice()])?,
        }
    }
    Ok(())
}

/// That limits are what every reader of protobuf's JSON takes for the same, and that no other model is chosen.
fn check_config(config: &Json<'_>) -> Result<(), Refusal> {
    let members =
        config.as_object().ok_or_else(|| invalid("member \"generationConfig\" must be an object"))?;
    for (name, value) in members {
        if OF_CONFIG.contains(&&**name) {
            if is_given(value) && value.as_integer().is_none_or(|number| number < 0) {
                return Err(invalid("maxOutputTokens and candidateCount must be whole numbers"));
            }
            continue;
        }
        let plain = plain(name);
        check_is_other(&plain, &OF_CONFIG)?;
        if is_given(value) && (plain.contains("model") || plain.contains("routing")) {
            return Err(undecided(name, "model"));
        }
    }
    Ok(())
}

/// The most tokens that the answer may have, for each of the answers that are asked for.
fn most(body: &Json<'_>) -> i64 {
    let config = body.get("generationConfig");
    let number = |name: &str| config?.get(name)?.as_integer().filter(|number| *number > 0);
    number("maxOutputTokens").unwrap_or(UNSAID).saturating_mul(number("candidateCount").unwrap_or(1))
}

/// Where a body has the name of the model that an alias stands for.
///
/// # Errors
/// `message_invalid` for a list of requests, each of which has it.
fn renamed(body: &Json<'_>, model: &str) -> Result<Vec<Replaced>, Refusal> {
    const PLACES: [&[&str]; 2] = [&["model"], &["generateContentRequest", "model"]];
    if body.get("requests").is_some() {
        return Err(invalid(
            "an alias cannot stand for the model of a list of requests; write the model's own name",
        ));
    }
    let is_there =
        |path: &&&[&str]| path.iter().try_fold(body, |at, name| at.get(name)).is_some_and(is_given);
    let places = PLACES.iter().filter(is_there);
    Ok(places.map(|path| Replaced { path, with: quoted(&format!("models/{model}")) }).collect())
}

fn kind(class: Class) -> &'static str {
    match class {
        Class::Invalid
        | Class::MethodNotAllowed
        | Class::TooLarge
        | Class::HeadersTooLarge
        | Class::TooSlow => "INVALID_ARGUMENT",
        Class::Conflict => "ABORTED",
        Class::NotFound => "NOT_FOUND",
        Class::Unauthenticated => "UNAUTHENTICATED",
        Class::Forbidden => "PERMISSION_DENIED",
        Class::TooMany => "RESOURCE_EXHAUSTED",
        Class::Unavailable => "UNAVAILABLE",
        Class::BadUpstream => "INTERNAL",
        Class::UpstreamTimeout => "DEADLINE_EXCEEDED",
    }
}
