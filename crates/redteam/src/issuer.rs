//! An issuer that signs whatever it is asked to, and forgeries of it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The subject that is registered with it.
pub const SUBJECT: &str = "oscar";

const KEY_ID: &str = "good";

/// An OpenID Connect issuer on loopback.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    key: Ed25519KeyPair,
    /// A key that it does not publish.
    other: Ed25519KeyPair,
}

impl Issuer {
    /// Starts it; its thread ends with the process.
    ///
    /// # Errors
    /// When there is no port, or no randomness.
    pub fn start() -> anyhow::Result<Self> {
        let generate = || Ed25519KeyPair::generate().map_err(|_| anyhow!("no key"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let issuer = Self { address: listener.local_addr()?, key: generate()?, other: generate()? };
        let (url, keys) = (issuer.url(), json!({"keys": [jwk(&issuer.key)]}).to_string());
        let discovery =
            json!({"issuer": url, "jwks_uri": format!("{url}/jwks"), "response_types_supported": ["code"]});
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever does not read it has no keys.
                let _ = serve(stream, &discovery.to_string(), &keys);
            }
        });
        Ok(issuer)
    }

    /// Its identifier.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token of a case.
    ///
    /// # Errors
    /// When there is no such case.
    pub fn token(&self, case: &str) -> anyhow::Result<String> {
        let (mut header, mut claims) = self.good()?;
        if let Some((_, part, name, value)) = CHANGES.iter().find(|(named, ..)| *named == case) {
            let value: Value =
                serde_json::from_str(&value.replace("{{issuer}}", &self.url())).context(case.to_owned())?;
            let members = if *part == "header" { &mut header } else { &mut claims };
            if value.is_null() {
                members.as_object_mut().map(|members| members.remove(*name));
            } else if let Some(seconds) = value.get("in").and_then(Value::as_i64) {
                set(members, name, json!(now()? + seconds));
            } else {
                set(members, name, value);
            }
            return Ok(sign(&header.to_string(), &claims.to_string(), &self.key));
        }
        self.otherwise(case, &header, &claims)
    }

    fn good(&self) -> anyhow::Result<(Value, Value)> {
        let now = now()?;
        let claims =
            json!({"iss": self.url(), "sub": SUBJECT, "aud": "vidimus", "iat": now - 5, "exp": now + 3600});
        Ok((json!({"alg": "EdDSA", "typ": "JWT", "kid": KEY_ID}), claims))
    }

    /// What is not the change of one member.
    fn otherwise(&self, case: &str, header: &Value, claims: &Value) -> anyhow::Result<String> {
        let (head, body) = (header.to_string(), claims.to_string());
        let good = sign(&head, &body, &self.key);
        let parts: Vec<&str> = good.split('.').collect();
        let [first, second, third] = parts.as_slice() else { return Err(anyhow!("not a JWT")) };
        let unsigned = |header: &str| format!("{}.{second}.", URL_SAFE_NO_PAD.encode(header));
        let of_key = |mut header: Value, name: &str, value: Value, alg: &str| {
            set(&mut header, name, value);
            set(&mut header, "alg", json!(alg));
            sign(&header.to_string(), &body, &self.other)
        };
        Ok(match case {
            "good" => good,
            "alg-none" => unsigned(r#"{"alg":"none","kid":"good"}"#),
            "alg-none-case" => unsigned(r#"{"alg":"nOnE","kid":"good"}"#),
            "alg-none-signed" => format!("{}{third}", unsigned(r#"{"alg":"none","kid":"good"}"#)),
            "alg-absent" => unsigned(r#"{"kid":"good"}"#),
            "alg-hs256" => self.confused(second, self.key.public_key().as_ref()),
            "alg-hs256-empty-key" => self.confused(second, b""),
            "alg-twice" => sign(r#"{"alg":"EdDSA","alg":"none","kid":"good"}"#, &body, &self.key),
            "signature-empty" => format!("{first}.{second}."),
            "signature-cut" => good.get(..good.len() - 4).unwrap_or_default().to_owned(),
            "signature-of-another" => sign(&head, &body, &self.other),
            "signature-longer" => format!("{good}AAAA"),
            "payload-swapped" => {
                let other = body.replace(SUBJECT, "alice");
                format!("{first}.{}.{third}", URL_SAFE_NO_PAD.encode(other))
            }
            "payload-twice" => sign(&head, &body.replacen('{', r#"{"sub":"alice","#, 1), &self.key),
            "payload-text" => sign(&head, "\"oscar\"", &self.key),
            "payload-empty" => sign(&head, "", &self.key),
            "padded" => format!("{first}=.{second}=.{third}="),
            "standard-alphabet" => format!("{}.{}.{third}", STANDARD.encode(&head), STANDARD.encode(&body)),
            "two-parts" => format!("{first}.{second}"),
            "four-parts" => format!("{good}.{third}"),
            "five-parts" => format!("{good}.{second}.{third}"),
            "dots" => "..".to_owned(),
            "own-jwk" => of_key(header.clone(), "jwk", jwk(&self.other), "EdDSA"),
            "own-jku" => of_key(header.clone(), "jku", json!("http://127.0.0.1:1/jwks"), "EdDSA"),
            "own-x5u" => of_key(header.clone(), "x5u", json!("http://127.0.0.1:1/cert"), "EdDSA"),
            "own-kid" => of_key(header.clone(), "kid", json!("mine"), "EdDSA"),
            "inner-space" => format!("{first}. {second}.{third}"),
            "huge" => {
                sign(&head, &body.replacen('{', &format!(r#"{{"x":"{}","#, "y".repeat(40_000)), 1), &self.key)
            }
            "nested" => {
                let deep = format!(r#"{{"x":{}1{},"#, "[".repeat(600), "]".repeat(600));
                sign(&head, &body.replacen('{', &deep, 1), &self.key)
            }
            _ => return Err(anyhow!("no token of the case {case:?}")),
        })
    }

    /// Signed by HMAC with what everybody can read.
    fn confused(&self, payload: &str, secret: &[u8]) -> String {
        let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"good"}"#));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }
}

/// Case, part, member, value: `null` takes it out, `{"in": n}` is the time in n seconds.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    ("aud-other", "claims", "aud", r#""somebody-else""#),
    ("aud-list-other", "claims", "aud", r#"["somebody", "else"]"#),
    ("aud-absent", "claims", "aud", "null"),
    ("aud-empty", "claims", "aud", r#""""#),
    ("aud-prefix", "claims", "aud", r#""vidimus.evil.example""#),
    ("aud-case", "claims", "aud", r#""Vidimus""#),
    ("aud-number", "claims", "aud", "7"),
    ("aud-object", "claims", "aud", r#"{"vidimus": true}"#),
    ("iss-other", "claims", "iss", r#""https://evil.example""#),
    ("iss-absent", "claims", "iss", "null"),
    ("iss-slash", "claims", "iss", r#""{{issuer}}/""#),
    ("iss-case", "claims", "iss", r#""HTTP://127.0.0.1""#),
    ("iss-local", "claims", "iss", r#""urn:vidimus:local""#),
    ("iss-list", "claims", "iss", r#"["{{issuer}}"]"#),
    ("exp-past", "claims", "exp", r#"{"in": -3600}"#),
    ("exp-absent", "claims", "exp", "null"),
    ("exp-text", "claims", "exp", r#""9999999999""#),
    ("exp-negative", "claims", "exp", "-1"),
    ("exp-zero", "claims", "exp", "0"),
    ("nbf-future", "claims", "nbf", r#"{"in": 3600}"#),
    ("iat-future", "claims", "iat", r#"{"in": 3600}"#),
    ("sub-other", "claims", "sub", r#""somebody""#),
    ("sub-absent", "claims", "sub", "null"),
    ("sub-empty", "claims", "sub", r#""""#),
    ("sub-case", "claims", "sub", r#""Oscar""#),
    ("sub-space", "claims", "sub", r#""oscar ""#),
    ("sub-nul", "claims", "sub", r#""oscar\u0000""#),
    ("sub-list", "claims", "sub", r#"["oscar"]"#),
    ("sub-of-another-issuer", "claims", "sub", r#""alice""#),
    ("kid-unknown", "header", "kid", r#""unknown""#),
    ("kid-path", "header", "kid", r#""../../../../etc/passwd""#),
    ("kid-number", "header", "kid", "7"),
    ("kid-sql", "header", "kid", r#""' OR 1=1 --""#),
    ("typ-of-a-proof", "header", "typ", r#""dpop+jwt""#),
    ("typ-of-an-id-token", "header", "typ", r#""secevent+jwt""#),
    ("typ-list", "header", "typ", r#"["JWT"]"#),
    ("crit", "header", "crit", r#"["exp"]"#),
    ("crit-b64", "header", "b64", "false"),
    ("alg-rs256", "header", "alg", r#""RS256""#),
    ("alg-es256k", "header", "alg", r#""ES256K""#),
    ("alg-list", "header", "alg", r#"["EdDSA"]"#),
];

fn set(members: &mut Value, name: &str, value: Value) {
    if let Some(members) = members.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn jwk(key: &Ed25519KeyPair) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": KEY_ID, "x": x})
}

fn sign(header: &str, payload: &str, key: &Ed25519KeyPair) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

fn serve(mut stream: TcpStream, discovery: &str, keys: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    let mut request = [0; 8_192];
    let count = stream.read(&mut request)?;
    let asks_keys =
        String::from_utf8_lossy(request.get(..count).unwrap_or_default()).starts_with("GET /jwks");
    let body = if asks_keys { keys } else { discovery };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
