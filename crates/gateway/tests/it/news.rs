//! News of a task: an agent sends them to the gateway, which tells who asked for them, as it asked, and nobody else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_identity::SignerKeys;
use vidimus_testkit::upstream::{Answer, Received, Upstream};

use super::world::{World, call_id, json_of, objects, snapshot};

const ROUTE: &str = "/a2a/t/callee";

const CEDAR: &str = r#"
    permit (principal == Agent::"t/caller", action == Action::"callAgent", resource == Skill::"t/callee/pay");
    permit (principal == Agent::"t/stranger", action == Action::"callAgent", resource == Skill::"t/callee/pay");
"#;

/// A world, where its caller wants news, and the agent with what it was told.
struct Stage {
    world: World,
    hook: Upstream,
    configs: Arc<Mutex<Vec<Value>>>,
}

impl Stage {
    async fn new() -> Self {
        let stage = Self { world: World::new().await, hook: Upstream::start(), configs: Arc::default() };
        stage.in_use(CEDAR, |_| {});
        stage.serve();
        stage
    }

    /// Takes objects into use, changed like that.
    fn in_use(&self, cedar: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let mut given = objects(&self.world.upstream);
        given[2]["spec"]["endpoint"]["rest"] = json!(self.world.upstream.url("/rest/"));
        let last = given.len() - 1;
        given[last]["spec"]["cedar"] = json!(cedar);
        change(&mut given);
        self.world.gate.take_into_use(snapshot(&given));
    }

    /// The agent: it keeps one configuration for each task, numbers tasks from 1, and shows what it was told.
    fn serve(&self) {
        let (configs, made) = (self.configs.clone(), Mutex::new(0_u64));
        self.world.upstream.otherwise(move |received: &Received| {
            let (asked, rest) = (received.json(), received.uri.path().strip_prefix("/rest").map(str::to_owned));
            let params = if rest.is_some() { &asked } else { &asked["params"] };
            let method = rest.as_deref().or(asked["method"].as_str()).unwrap_or_default().to_owned();
            let mut configs = configs.lock().expect("a lock");
            let result = match method.as_str() {
                "SendMessage" | "message/send" | "/message:send" => {
                    let mut made = made.lock().expect("a lock");
                    *made += 1;
                    let configuration = &params["configuration"];
                    configs.extend(["taskPushNotificationConfig", "pushNotificationConfig"].iter().filter_map(|name| {
                        configuration.get(*name).cloned()
                    }));
                    json!({"task": {"id": made.to_string(), "contextId": "ctx", "status": {"state": "TASK_STATE_WORKING"}}})
                }
                "CreateTaskPushNotificationConfig" => {
                    configs.push(params.clone());
                    params.clone()
                }
                "tasks/pushNotificationConfig/set" => {
                    configs.push(params["pushNotificationConfig"].clone());
                    params.clone()
                }
                "ListTaskPushNotificationConfigs" => json!({"configs": *configs}),
                "GetTaskPushNotificationConfig" => configs.last().cloned().unwrap_or_default(),
                _ => json!({}),
            };
            match rest {
                Some(_) => Answer::json(&result),
                None => Answer::json(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})),
            }
        });
    }

    async fn ask(&self, subject: &str, method: &str, params: Value) -> (Value, Option<String>, HeaderMap) {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self.world.request(Method::POST, ROUTE, &message);
        let token = self.world.token(subject, Duration::from_secs(600));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        let (_, headers, body) = self.world.call(request).await;
        let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned());
        (json_of(&body)["result"].clone(), code, headers)
    }

    /// A task of the caller's, made with this configuration, if with any: its id as the caller has it.
    async fn made(&self, subject: &str, config: Option<Value>) -> String {
        let mut params = json!({"message": {"messageId": "m", "metadata": {"skill": "pay"}, "parts": []}});
        if let Some(config) = config {
            params["configuration"] = json!({"taskPushNotificationConfig": config});
        }
        let (result, code, _) = self.ask(subject, "SendMessage", params).await;
        assert_eq!(code, None);
        result["task"]["id"].as_str().expect("a task").to_owned()
    }

    /// The address that the agent was told last, as a path.
    fn address(&self) -> String {
        let configs = self.configs.lock().expect("a lock");
        let url = configs.last().expect("one")["url"].as_str().expect("an address").to_owned();
        url.strip_prefix("http://gateway.example").expect("the gateway's").to_owned()
    }

    /// What the agent gets for news of its task of this id.
    async fn push(&self, path: &str, task: &str) -> (StatusCode, Option<String>, HeaderMap) {
        let news = json!({"statusUpdate": {"taskId": task, "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED",
            "message": {"messageId": "m", "taskId": task, "contextId": "ctx", "parts": [{"text": "1"}]}}}});
        self.post(path, &news.to_string(), None).await
    }

    async fn post(
        &self,
        path: &str,
        body: &str,
        token: Option<String>,
    ) -> (StatusCode, Option<String>, HeaderMap) {
        let mut request = Request::builder().method(Method::POST).uri(path).header("host", "gateway.example");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/a2a+json");
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let (status, headers, _) = self.world.call(request).await;
        let code = headers.get("vidimus-code").map(|code| code.to_str().expect("text").to_owned());
        (status, code, headers)
    }

    fn config(&self) -> Value {
        json!({"url": self.hook.url("/hook?a=1"), "token": "own-token",
            "authentication": {"scheme": "Basic", "credentials": "b3du"}})
    }
}

/// The claims of the gateway's signature over a body, once it holds.
pub async fn signed(world: &World, received: &Received) -> Value {
    let signature = received.header("vidimus-signature").expect("a signature");
    let [protected, payload, signature] = signature.split('.').collect::<Vec<_>>()[..] else {
        panic!("{signature}")
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    let request = world.request(Method::GET, "/.well-known/jwks.json", &json!(null));
    let (_, _, jwks) = world.call(request).await;
    let keys = SignerKeys::parse(std::str::from_utf8(&jwks).expect("text")).expect("keys");
    assert!(keys.have_signed(&payload, protected, signature));
    let claims = json_of(&payload);
    let hash = HEXLOWER.encode(digest(&SHA256, &received.body).as_ref());
    assert_eq!(claims["request_body_sha256"], json!(hash));
    claims
}

#[tokio::test]
async fn news_reach_who_asked_for_them_as_it_asked_and_are_on_record() {
    let stage = Stage::new().await;
    let own = stage.made("caller", Some(stage.config())).await;
    {
        let configs = stage.configs.lock().expect("a lock");
        let told = configs.last().expect("one").to_string();
        assert!(!told.contains("own-token") && !told.contains("b3du") && !told.contains("/hook"), "{told}");
    }
    let (status, code, headers) = stage.push(&stage.address(), "1").await;
    assert_eq!((status, code), (StatusCode::OK, None));
    let received = stage.hook.until_received(1).await;
    let news = received[0].json();
    assert_eq!(received[0].uri, "/hook?a=1");
    assert_eq!(news["statusUpdate"]["taskId"], json!(own));
    assert_eq!(news["statusUpdate"]["status"]["message"]["taskId"], json!(own));
    assert!(!news.to_string().contains("\"ctx\""), "{news}");
    assert_eq!(received[0].header("x-a2a-notification-token"), Some("own-token"));
    assert_eq!(received[0].header("authorization"), Some("Basic b3du"));
    assert_eq!(received[0].header("content-type"), Some("application/a2a+json"));
    let claims = signed(&stage.world, &received[0]).await;
    assert_eq!(
        (&claims["sub"], &claims["htu"]),
        (&json!("Agent/t/callee"), &json!(stage.hook.url("/hook?a=1")))
    );
    assert_eq!((&claims["jti"], claims.get("aud")), (&json!(call_id(&headers)), None));
    let records = stage.world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[0]["method"], &records[0]["task"]), (&json!("SendPushNotification"), &json!("1")));
    assert_eq!((&records[0]["principal"], &records[1]["result"]), (&json!("Agent/t/caller"), &json!("ok")));
    let all = stage.world.all_records();
    assert!(
        all.iter().all(|record| !record.to_string().contains(stage.address().get(20..).expect("sealed"))),
        "no record has an address"
    );
    // The task is the caller's, and so is what is said of the configuration.
    let (result, code, _) = stage.ask("caller", "GetTask", json!({"id": own})).await;
    assert_eq!(code, None, "{result}");
}

#[tokio::test]
async fn a_caller_sees_its_own_webhook_in_every_binding() {
    let stage = Stage::new().await;
    let own = stage.made("caller", None).await;
    let mut config = stage.config();
    config["taskId"] = json!(own);
    config["id"] = json!("c");
    let (result, code, _) = stage.ask("caller", "CreateTaskPushNotificationConfig", config.clone()).await;
    assert_eq!((&result, code), (&config, None));
    assert!(stage.address().starts_with("/push/t/callee/"));
    let about = json!({"taskId": own, "id": "c"});
    let (result, ..) = stage.ask("caller", "GetTaskPushNotificationConfig", about).await;
    assert_eq!(result, config);
    let (result, ..) = stage.ask("caller", "ListTaskPushNotificationConfigs", json!({"taskId": own})).await;
    assert_eq!(result, json!({"configs": [config]}));
    let (_, code, _) = stage.push(&stage.address(), "1").await;
    assert_eq!(code, None);
    let inner = stage.config();
    let old = json!({"taskId": own, "pushNotificationConfig": inner});
    let (result, code, _) = stage.ask("caller", "tasks/pushNotificationConfig/set", old.clone()).await;
    assert_eq!((&result, code), (&old, None));
    // Over HTTP+JSON.
    let body = json!({"message": {"messageId": "m", "metadata": {"skill": "pay"}, "parts": []},
        "configuration": {"taskPushNotificationConfig": stage.config()}});
    let (status, ..) =
        stage.world.call(stage.world.request(Method::POST, &format!("{ROUTE}/message:send"), &body)).await;
    assert_eq!(status, StatusCode::OK);
    let (_, code, _) = stage.push(&stage.address(), "2").await;
    assert_eq!((code, stage.hook.until_received(2).await.len()), (None, 2));
}

/// Attacks: news of another's task, by another's address, by another agent's, by a made-up one, after the end.
#[tokio::test]
async fn news_of_anything_else_go_nowhere() {
    let stage = Stage::new().await;
    let own = stage.made("caller", Some(stage.config())).await;
    let before = stage.address();
    stage.made("stranger", None).await;
    let foreign = Some("push_foreign".to_owned());
    // Nor by who has learned its own address before the agent sent anything there.
    assert_eq!(stage.push(&before, "2").await.1, foreign);
    assert_eq!(stage.push(&before, "1").await.1, None);
    // Whatever came first is the task; that of the stranger's is another.
    assert_eq!(stage.push(&before, "2").await.1, foreign);
    let mut config = stage.config();
    config["taskId"] = json!(own);
    stage.ask("caller", "CreateTaskPushNotificationConfig", config.clone()).await;
    let address = stage.address();
    assert_eq!(stage.push(&address, "2").await.1, foreign);
    let both = r#"{"task":{"id":"1","status":{"message":{"messageId":"m","taskId":"2"}}}}"#;
    assert_eq!(stage.post(&address, both, None).await.1.as_deref(), Some("message_invalid"));
    // What is no news, and may be a call where it arrives.
    let called = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[]},"task":{"id":"1"}}"#;
    let message = r#"{"message":{"messageId":"m","taskId":"1","role":"ROLE_USER","parts":[]}}"#;
    let paid = r#"{"id":"1","to":"eve","amount":9}"#;
    let beside = r#"{"id":"1","status":{"state":"working"},"amount":9}"#;
    let few = ["{}", "[]", r#"{"message":{"messageId":"m"}}"#, r#"{"task":{"id":""}}"#];
    for body in few.into_iter().chain([called, message, paid, beside, r#"{"id":"1"}"#]) {
        assert_eq!(stage.post(&address, body, None).await.1.as_deref(), Some("message_invalid"), "{body}");
    }
    assert_eq!(stage.post(&address, "{", None).await.1.as_deref(), Some("body_not_json"));
    let old = r#"{"id":"1","contextId":"ctx","kind":"task","status":{"state":"working"},"artifacts":[]}"#;
    assert_eq!(stage.post(&address, old, None).await.1, None, "as 0.3 has it");
    let sealed = address.rsplit('/').next().expect("sealed");
    assert_eq!(stage.push(&format!("/push/t/caller/{sealed}"), "1").await.1, foreign);
    assert_eq!(
        stage.push(&format!("/push/t/callee/{}x", sealed.get(1..).expect("sealed")), "1").await.1,
        foreign
    );
    // What is nearly one is on no record either.
    for path in [format!("/push//t/callee/{sealed}"), format!("{address}/"), format!("/{address}")] {
        assert_eq!(stage.push(&path, "1").await.1, foreign, "{path}");
    }
    assert!(
        stage
            .world
            .all_records()
            .iter()
            .all(|record| !record.to_string().contains(sealed.get(20..).expect("sealed")))
    );
    // A task's own sealed id is no address.
    assert_eq!(stage.push(&format!("/push/t/callee/{own}"), "1").await.1, foreign);
    let news = r#"{"task":{"id":"1"}}"#;
    let stranger = stage.world.token("stranger", Duration::from_secs(600));
    assert_eq!(stage.post(&address, news, Some(stranger)).await.1, foreign);
    let large = format!(r#"{{"task":{{"id":"1","x":"{}"}}}}"#, "x".repeat(2 << 20));
    assert_eq!(stage.post(&address, &large, None).await.1.as_deref(), Some("body_too_large"));
    let told = stage.hook.received().len();
    assert_eq!(told, 2);
    // The caller ends it.
    stage.world.clock.advance(Duration::from_secs(1));
    let (_, code, _) =
        stage.ask("caller", "DeleteTaskPushNotificationConfig", json!({"taskId": own, "id": own})).await;
    assert_eq!(code, None);
    assert_eq!(stage.push(&address, "1").await.1, foreign);
    assert_eq!(stage.push(&before, "1").await.1, foreign);
    // And begins anew.
    stage.world.clock.advance(Duration::from_secs(1));
    stage.ask("caller", "CreateTaskPushNotificationConfig", config).await;
    assert_eq!(stage.push(&stage.address(), "1").await.1, None);
    stage.world.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(stage.push(&stage.address(), "1").await.1, foreign);
    assert_eq!(stage.hook.received().len(), 3);
}

#[tokio::test]
async fn news_end_with_what_permitted_them() {
    let stage = Stage::new().await;
    stage.made("caller", Some(stage.config())).await;
    let address = stage.address();
    let quarantined =
        |place: usize| move |given: &mut Vec<Value>| given[place]["spec"]["quarantined"] = json!(true);
    stage.in_use(CEDAR, quarantined(2));
    assert_eq!(stage.push(&address, "1").await.1.as_deref(), Some("forbidden_by_policy"));
    stage.in_use(CEDAR, quarantined(0));
    assert_eq!(stage.push(&address, "1").await.1.as_deref(), Some("forbidden_by_policy"));
    stage.in_use(r#"permit (principal, action == Action::"callModel", resource);"#, |_| {});
    assert_eq!(stage.push(&address, "1").await.1.as_deref(), Some("no_permit"));
    let not_there = r#"forbid (principal, action == Action::"callAgent", resource) when { context has push_notification_url };"#;
    stage.in_use(&format!("{CEDAR} {not_there}"), |_| {});
    assert_eq!(stage.push(&address, "1").await.1.as_deref(), Some("forbidden_by_policy"));
    stage.in_use(CEDAR, |given| drop(given.remove(0)));
    assert_eq!(stage.push(&address, "1").await.1.as_deref(), Some("revoked"));
    assert!(stage.hook.received().is_empty());
    stage.in_use(CEDAR, |_| {});
    assert_eq!(stage.push(&address, "1").await.1, None);
}

/// News are an answer of the agent's, and what guards do not let pass of one reaches nobody.
#[tokio::test]
async fn guards_look_at_news_as_at_any_answer() {
    const CARD: &str = "4111 1111 1111 1111";
    let stage = Stage::new().await;
    stage.made("caller", Some(stage.config())).await;
    let address = stage.address();
    let news = |text: &str| {
        json!({"statusUpdate": {"taskId": "1", "contextId": "ctx", "status": {"state": "TASK_STATE_COMPLETED",
            "message": {"messageId": "m", "taskId": "1", "contextId": "ctx", "parts": [{"text": text}]}}}})
        .to_string()
    };
    for (on_finding, code, found) in [
        ("", Some("change_impossible"), "found: card 1"),
        (r#"@on_finding("redact")"#, None, "redacted: card 1"),
        (r#"@on_finding("record")"#, None, "recorded: card 1"),
    ] {
        let guarding = format!(
            r#"@guard_answer("personal_data") {on_finding} forbid (principal, action == Action::"callAgent", resource);"#
        );
        stage.in_use(&format!("{CEDAR} {guarding}"), |_| {});
        assert_eq!(stage.post(&address, &news("it is done"), None).await.1, None);
        let before = stage.hook.received().len();
        let (_, answered, headers) = stage.post(&address, &news(CARD), None).await;
        assert_eq!(answered.as_deref(), code);
        let told = stage.hook.received();
        assert_eq!(told.len() - before, usize::from(code.is_none()));
        let said = told.last().map(|one| String::from_utf8_lossy(&one.body).into_owned()).unwrap_or_default();
        assert_eq!(said.contains(CARD), found.starts_with("recorded"), "{said}");
        let records = stage.world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["detail"], format!("guard.personal_data: {found}"), "{records:?}");
    }
    // What is to be taken out of any message is taken out of these, and the record of their end says of how many values.
    let redacting = r#"@guard("personal_data") @on_finding("redact") forbid (principal, action == Action::"callAgent", resource)
        unless { context.guarded.contains("personal_data") };"#;
    stage.in_use(&format!("{CEDAR} {redacting}"), |_| {});
    let (_, answered, headers) = stage.post(&address, &news(CARD), None).await;
    assert_eq!(answered, None);
    let said = stage.hook.received().pop().map(|one| String::from_utf8_lossy(&one.body).into_owned());
    assert!(said.as_deref().is_some_and(|said| said.contains("[redacted:card]")), "{said:?}");
    let records = stage.world.records(&call_id(&headers), 2).await;
    assert_eq!(records[1]["changed"], json!({"redact": 1}), "{records:?}");
}

/// Attacks: a webhook at the gateway, at a registered server, at a link-local address, behind a redirect, and by a name that leads elsewhere
/// when the news are there.
#[tokio::test]
async fn news_go_to_no_place_that_calls_are_decided_for_and_to_none_that_no_call_may_reach() {
    let stage = Stage::new().await;
    let own = stage.made("caller", None).await;
    let refused = Some("upstream_refused_address".to_owned());
    let port = stage.world.upstream.address().port();
    for url in [
        stage.world.upstream.url("/mcp"),
        format!("http://localhost:{port}/mcp"),
        format!("http://[::ffff:127.0.0.1]:{port}/mcp"),
        "http://gateway.example.:80/mcp/t/tools".to_owned(),
        stage.world.upstream.url("/anything"),
        "http://gateway.example/mcp/t/tools".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "http://[::ffff:169.254.169.254]/latest".to_owned(),
    ] {
        let params = json!({"taskId": own, "url": url});
        let (_, code, _) = stage.ask("caller", "CreateTaskPushNotificationConfig", params).await;
        assert_eq!(code, refused, "{url}");
    }
    assert!(stage.configs.lock().expect("a lock").is_empty());
    // Of a host where others are too, only what is below one's own path is one's own.
    stage.in_use(CEDAR, |given| {
        given[0]["spec"]["endpoint"] = json!({"url": stage.world.upstream.url("/caller")});
    });
    for (path, expected) in [
        ("/mcp", refused.clone()),
        ("/", refused.clone()),
        ("/callers", refused.clone()),
        ("/caller/hook", None),
    ] {
        let params = json!({"taskId": own, "url": stage.world.upstream.url(path)});
        let (_, code, _) = stage.ask("caller", "CreateTaskPushNotificationConfig", params).await;
        assert_eq!(code, expected, "{path}");
    }
    stage.in_use(CEDAR, |_| {});
    stage.made("caller", Some(stage.config())).await;
    for (answer, status) in [
        (Answer::json(&json!({})).with_status(StatusCode::TEMPORARY_REDIRECT), 307),
        (Answer::json(&json!({})).with_status(StatusCode::INTERNAL_SERVER_ERROR), 500),
    ] {
        stage.hook.next(answer);
        let (_, code, headers) = stage.push(&stage.address(), "2").await;
        assert_eq!(code.as_deref(), Some("upstream_invalid"));
        let effect = &stage.world.records(&call_id(&headers), 2).await[1];
        assert_eq!((&effect["status"], &effect["result"]), (&json!(status), &json!("error")));
    }
    assert_eq!(stage.hook.received().len(), 2);
    // What its name leads to is looked at when the news are there: at the gateway's own host a webhook is only where the agent is too.
    let port = stage.hook.address().port();
    let named = json!({"url": format!("http://localhost:{port}/hook")});
    stage.made("caller", Some(named)).await;
    stage.in_use(CEDAR, |given| {
        given[2]["spec"]["endpoint"] = json!({"url": "http://agent.example/a2a"});
    });
    let (_, code, headers) = stage.push(&stage.address(), "3").await;
    assert_eq!(code, refused);
    assert_eq!(stage.world.records(&call_id(&headers), 2).await[1]["code"], "upstream_refused_address");
    assert_eq!(stage.hook.received().len(), 2);
}
