//! Where a caller wants news of a task: what a message says of it, and what stands there for the agent, which sends them to the gateway and is
//! told nothing of where they go on to.

use std::fmt;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::A2aVersion;

use crate::protocol::handles::Handles;
use crate::protocol::members::{Members, Replaced, quoted};
use crate::protocol::{MAX_URI, check_spelling};

use super::tasks::value_at;

/// The longest token, and the longest authentication, that a webhook may ask for, in bytes.
const MAX_PROOF: usize = 4_096;

/// The members that lead to a value.
type Path = &'static [&'static str];

/// Where a configuration may stand in a message.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    config: Path,
    url: Path,
    token: Path,
    authentication: Path,
}

macro_rules! place {
    ($($name:literal),*) => {
        Place {
            config: &["params", $($name),*],
            url: &["params", $($name,)* "url"],
            token: &["params", $($name,)* "token"],
            authentication: &["params", $($name,)* "authentication"],
        }
    };
}

/// The parameters are the configuration.
static FLAT: Place = place!();

/// It stands in a member of them. The second name is what 1.0 calls the first, and the third what 0.3 calls it over HTTP+JSON.
static NESTED: [Place; 6] = [
    place!("configuration", "pushNotificationConfig"),
    place!("configuration", "taskPushNotificationConfig"),
    place!("configuration", "pushNotification"),
    place!("pushNotificationConfig"),
    place!("taskPushNotificationConfig"),
    place!("pushNotification"),
];

/// What a message says of where news of a task go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// They go there.
    To(Webhook),
    /// They do not go any more to where the configuration of this id says.
    NoMore(Option<Box<str>>),
}

/// Where news of a task go on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// As the caller wrote it.
    pub url: Box<str>,
    pub proof: Proof,
    /// The id of its configuration, where the caller named one.
    pub config: Option<Box<str>>,
    /// The version in which its caller reads news.
    pub version: A2aVersion,
    place: &'static Place,
}

/// How news prove themselves there, as the caller asked.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The token that comes with each.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    token: Option<Box<str>>,
    /// `authentication`, as JSON.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    authentication: Option<Box<str>>,
}

/// What stands in `Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// What the caller gave.
    Given(HeaderValue),
    /// A token of the sender's own: the caller names the scheme and no credential.
    Signed,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

/// Where a message has news of a task sent, and the address as it stands there.
///
/// # Errors
/// `message_invalid` for two of them, for a configuration that names a task by itself, and for one that is not as the protocol has it.
pub fn named<'a>(params: Option<&'a Json<'a>>, creates: bool) -> Result<Option<(&'a str, Webhook)>, Refusal> {
    let configuration = params.and_then(|params| params.get("configuration"));
    configuration.map_or(Ok(()), |given| check_spelling(given, &super::tasks::PUSH))?;
    let is_there = |value: Option<&Json<'_>>| !matches!(value, None | Some(Json::Null));
    let mut found: Vec<(&'static Place, Option<&'a Json<'a>>)> = Vec::new();
    for place in &NESTED {
        let config = value_at(params, place.config).filter(|config| is_there(Some(*config)));
        let Some(config) = config else { continue };
        check_spelling(config, &["url", "taskId"])?;
        if is_there(config.get("taskId")) && config.get("taskId").and_then(Json::as_str) != Some("") {
            return Err(invalid("a push notification configuration inside a message names no task"));
        }
        found.push((place, Some(config)));
    }
    // Beside a nested one as well: which of the two an agent reads is not known, so two are refused below.
    let has_flat = is_there(params.and_then(|params| params.get("url")));
    if creates && (found.is_empty() || has_flat) {
        found.push((&FLAT, params));
    }
    match found.as_slice() {
        [] => Ok(None),
        [(place, Some(config))] => Webhook::read(place, config).map(Some),
        _ => Err(one_url()),
    }
}

/// What a message says of it: `named` is [`named`], `delete` that it is the one that deletes a configuration, `old` as 0.3 does.
pub fn said(
    named: Option<Webhook>,
    (delete, old): (bool, bool),
    params: Option<&Json<'_>>,
) -> Option<Box<Said>> {
    let id = || params?.get(if old { "pushNotificationConfigId" } else { "id" })?.as_str();
    match named {
        Some(webhook) => {
            Some(Box::new(Said::To(Webhook { version: super::version::of_message(old), ..webhook })))
        }
        None => delete.then(|| Box::new(Said::NoMore(id().map(Into::into)))),
    }
}

impl Webhook {
    fn read<'a>(place: &'static Place, config: &'a Json<'a>) -> Result<(&'a str, Self), Refusal> {
        check_spelling(config, &["token", "authentication"])?;
        let url = config.get("url").and_then(Json::as_str).filter(|url| (1..=MAX_URI).contains(&url.len()));
        let url = url.ok_or_else(one_url)?;
        let text = |name: &str| match config.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) if text.len() <= MAX_PROOF => {
                Ok(Some(&**text).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(invalid("what a webhook's configuration says is a text that is not too long")),
        };
        let authentication = config.get("authentication").filter(|given| **given != Json::Null);
        let proof = Proof {
            token: text("token")?.map(Into::into),
            authentication: authentication.map(|given| given.canonical().into()),
        };
        // Found out before the agent is told of it.
        proof.token_header()?;
        proof.authorization()?;
        Ok((
            url,
            Self {
                url: url.into(),
                proof,
                config: text("id")?.map(Into::into),
                version: A2aVersion::V1_0,
                place,
            },
        ))
    }

    /// What of the message goes on with another value, so that the agent sends to `address`, and proves nothing there but that.
    pub fn replaced(&self, address: &str) -> Vec<Replaced> {
        let nothing = |path, is_there: bool| is_there.then(|| Replaced { path, with: "null".to_owned() });
        std::iter::once(Replaced { path: self.place.url, with: quoted(address) })
            .chain(nothing(self.place.token, self.proof.token.is_some()))
            .chain(nothing(self.place.authentication, self.proof.authentication.is_some()))
            .collect()
    }
}

impl Proof {
    /// `X-A2A-Notification-Token`.
    ///
    /// # Errors
    /// `message_invalid` for what no header can have.
    pub fn token_header(&self) -> Result<Option<HeaderValue>, Refusal> {
        self.token.as_deref().map(header).transpose()
    }

    /// `Authorization`: of 1.0 `{scheme, credentials}`, of 0.3 `{schemes: [scheme], credentials}`.
    ///
    /// # Errors
    /// `message_invalid` for what is not of that form, and for what no header can have.
    pub fn authorization(&self) -> Result<Option<Authorization>, Refusal> {
        let Some(given) = self.authentication.as_deref().filter(|given| given.len() <= MAX_PROOF) else {
            return match self.authentication {
                None => Ok(None),
                Some(_) => Err(invalid("the authentication of a webhook is too long")),
            };
        };
        let given: Value = serde_json::from_str(given).unwrap_or_default();
        let text = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(()),
        };
        let scheme = given.get("scheme").or_else(|| given.get("schemes")?.get(0));
        let read = text(scheme).and_then(|scheme| Ok((scheme, text(given.get("credentials"))?)));
        match read {
            Ok((None, None)) if given.is_object() => Ok(None),
            Ok((Some(scheme), Some(credentials))) => {
                header(&format!("{scheme} {credentials}")).map(Authorization::Given).map(Some)
            }
            Ok((Some(scheme), None)) => {
                Ok(scheme.eq_ignore_ascii_case("bearer").then_some(Authorization::Signed))
            }
            _ => Err(invalid("the authentication of a webhook is a scheme and its credentials")),
        }
    }
}

fn header(text: &str) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| invalid("what a webhook asks for as proof cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// An answer about configurations, with the caller's own addresses, and how news prove themselves there, where the gateway's stand.
///
/// # Errors
/// `upstream_invalid` when it cannot be read.
pub fn restored(json: &str, handles: &Handles) -> Result<Option<String>, Refusal> {
    let unreadable = |error: serde_json::Error| {
        Refusal::new(Code::UpstreamInvalid, "the agent's answer could not be read").with_detail(error)
    };
    let whole = Members::unique(json).map_err(unreadable)?;
    let Some(result) = whole.get("result") else { return Ok(None) };
    let mut result: Value = serde_json::from_str(result.get()).map_err(unreadable)?;
    let is_changed = restore(&mut result, handles);
    Ok(is_changed.then(|| whole.write("result", &result.to_string())))
}

/// Puts back what the caller gave, in whatever object of the value; whether there was any.
fn restore(value: &mut Value, handles: &Handles) -> bool {
    let mut is_changed = false;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| is_changed |= restore(item, handles)),
        Value::Object(members) => {
            let given = members.get("url").and_then(Value::as_str).and_then(|url| handles.webhook(url));
            if let Some((url, proof)) = given {
                is_changed = true;
                let authentication =
                    proof.authentication.and_then(|given| serde_json::from_str::<Value>(&given).ok());
                let token = proof.token.map(|token| Value::String(token.into()));
                members.insert("url".to_owned(), Value::String(url.into()));
                for (name, value) in [("token", token), ("authentication", authentication)] {
                    members.remove(name);
                    members.extend(value.map(|value| (name.to_owned(), value)));
                }
            }
            members.values_mut().for_each(|member| is_changed |= restore(member, handles));
        }
        _ => {}
    }
    is_changed
}

fn one_url() -> Refusal {
    let message = format!("push notifications go to one url, a string of 1 to {MAX_URI} bytes");
    Refusal::new(Code::MessageInvalid, message)
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: &str, creates: bool) -> Result<Option<(String, Webhook)>, Code> {
        let json = Json::parse(params.as_bytes()).expect("JSON");
        let named = named(Some(&json), creates);
        named
            .map(|named| named.map(|(url, webhook)| (url.to_owned(), webhook)))
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_agent_is_told_the_gateways_address_and_no_proof() {
        for (params, creates, expected) in [
            (
                r#"{"taskId":"1","id":"c","url":"https://h/","token":"t","authentication":{"scheme":"Basic","credentials":"x"}}"#,
                true,
                vec![("params.url", "\"A\""), ("params.token", "null"), ("params.authentication", "null")],
            ),
            (
                r#"{"configuration":{"taskPushNotificationConfig":{"url":"https://h/"}}}"#,
                false,
                vec![("params.configuration.taskPushNotificationConfig.url", "\"A\"")],
            ),
            (
                r#"{"taskId":"1","pushNotificationConfig":{"url":"https://h/","token":"t"}}"#,
                true,
                vec![
                    ("params.pushNotificationConfig.url", "\"A\""),
                    ("params.pushNotificationConfig.token", "null"),
                ],
            ),
        ] {
            let (url, webhook) = read(params, creates).expect("good").expect("one");
            assert_eq!(url, "https://h/");
            let replaced = webhook.replaced("A");
            let replaced: Vec<_> =
                replaced.iter().map(|one| (one.path.join("."), one.with.as_str())).collect();
            let expected: Vec<_> = expected.into_iter().map(|(at, with)| (at.to_owned(), with)).collect();
            assert_eq!(replaced, expected, "{params}");
            assert!(!format!("{webhook:?}").contains("\"t\""));
        }
    }

    #[test]
    fn news_prove_themselves_as_the_caller_asked() {
        let of = |authentication: &str| -> Result<String, Code> {
            let params = format!(r#"{{"url":"https://h/","authentication":{authentication}}}"#);
            let webhook = read(&params, true)?.expect("one").1;
            let authorization = webhook.proof.authorization().expect("read before");
            Ok(match authorization {
                None => "none".to_owned(),
                Some(Authorization::Signed) => "signed".to_owned(),
                Some(Authorization::Given(value)) => value.to_str().expect("text").to_owned(),
            })
        };
        for (authentication, expected) in [
            ("null", Ok("none")),
            ("{}", Ok("none")),
            (r#"{"scheme":"Bearer"}"#, Ok("signed")),
            (r#"{"schemes":["bearer"]}"#, Ok("signed")),
            (r#"{"scheme":"Basic"}"#, Ok("none")),
            (r#"{"scheme":"Basic","credentials":"eA=="}"#, Ok("Basic eA==")),
            (r#"{"schemes":["Bearer"],"credentials":"x"}"#, Ok("Bearer x")),
            (r#"{"credentials":"x"}"#, Err(Code::MessageInvalid)),
            (r#"{"scheme":7}"#, Err(Code::MessageInvalid)),
            (r#"{"scheme":"Bearer","credentials":"a\r\nx: y"}"#, Err(Code::MessageInvalid)),
            ("7", Err(Code::MessageInvalid)),
        ] {
            assert_eq!(of(authentication), expected.map(str::to_owned), "{authentication}");
        }
        assert_eq!(read(r#"{"url":"https://h/","token":"a\nb"}"#, true), Err(Code::MessageInvalid));
        assert_eq!(read(r#"{"url":"https://h/","Token":"a"}"#, true), Err(Code::MessageInvalid));
    }
}
