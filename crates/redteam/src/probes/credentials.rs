//! Credentials: forged, twice, empty, of others, in odd bytes.

use super::{MESSAGE, a2a, anthropic, good, openai};
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};

const TOKEN_REFUSALS: &[&str] = &[
    "token_malformed",
    "token_algorithm",
    "token_issuer",
    "token_key_unknown",
    "token_signature",
    "token_expired",
    "token_not_yet_valid",
    "token_audience",
    "principal_unknown",
    "svid_invalid",
    "credential_missing",
    "credential_ambiguous",
];

/// A case of [`crate::issuer::Issuer::token`], what is hoped for, and the codes that may be told.
const FORGED: &[(&str, &str, &[&str])] = &[
    ("alg-none", "no signature is asked for", &["token_algorithm", "token_malformed"]),
    ("alg-none-case", "another spelling of none", &["token_algorithm", "token_malformed"]),
    ("alg-none-signed", "none, with a signature to look at", &["token_algorithm", "token_malformed"]),
    ("alg-absent", "no algorithm means any", &["token_algorithm", "token_malformed"]),
    ("alg-hs256", "the public key as a shared secret", &["token_algorithm"]),
    ("alg-hs256-empty-key", "an empty shared secret", &["token_algorithm"]),
    ("alg-twice", "two parsers see two algorithms", TOKEN_REFUSALS),
    (
        "alg-rs256",
        "an algorithm that is not the key's",
        &["token_algorithm", "token_signature", "token_key_unknown"],
    ),
    ("alg-es256k", "an algorithm that is not allowed", &["token_algorithm", "token_malformed"]),
    ("alg-list", "an algorithm that is a list", TOKEN_REFUSALS),
    ("signature-empty", "no signature", &["token_malformed", "token_signature"]),
    ("signature-cut", "a short signature", &["token_malformed", "token_signature"]),
    ("signature-longer", "a long signature", &["token_malformed", "token_signature"]),
    ("signature-of-another", "another key", &["token_signature"]),
    ("payload-swapped", "another subject under the same signature", &["token_signature"]),
    ("payload-twice", "a subject twice", TOKEN_REFUSALS),
    ("payload-text", "claims that are text", TOKEN_REFUSALS),
    ("payload-empty", "no claims", TOKEN_REFUSALS),
    ("standard-alphabet", "base64 of the other alphabet", TOKEN_REFUSALS),
    ("two-parts", "two parts", &["token_malformed"]),
    ("four-parts", "four parts", &["token_malformed"]),
    ("five-parts", "an encrypted token", &["token_malformed"]),
    ("dots", "empty parts", &["token_malformed"]),
    ("padded", "padding", TOKEN_REFUSALS),
    ("inner-space", "a space inside", TOKEN_REFUSALS),
    ("own-jwk", "a key in the header", TOKEN_REFUSALS),
    ("own-jku", "a link to a key in the header", TOKEN_REFUSALS),
    ("own-x5u", "a link to a certificate in the header", TOKEN_REFUSALS),
    ("own-kid", "an own key id", &["token_key_unknown", "token_signature"]),
    ("kid-unknown", "a key id that nobody has", &["token_key_unknown"]),
    ("kid-path", "a key id that is a file", &["token_key_unknown", "token_malformed"]),
    ("kid-number", "a key id that is a number", TOKEN_REFUSALS),
    ("kid-sql", "a key id that is a query", &["token_key_unknown", "token_malformed"]),
    ("crit", "a critical member that nobody knows", TOKEN_REFUSALS),
    ("crit-b64", "a payload that is not base64", TOKEN_REFUSALS),
    ("typ-of-a-proof", "a proof as a token", TOKEN_REFUSALS),
    ("typ-of-an-id-token", "an event as a token", TOKEN_REFUSALS),
    ("typ-list", "a type that is a list", TOKEN_REFUSALS),
    ("aud-other", "a token for somebody else", &["token_audience"]),
    ("aud-list-other", "a token for several others", &["token_audience"]),
    ("aud-absent", "a token for nobody", &["token_audience", "token_malformed"]),
    ("aud-empty", "an empty audience", &["token_audience", "token_malformed"]),
    ("aud-prefix", "an audience that begins right", &["token_audience"]),
    ("aud-case", "an audience in another case", &["token_audience"]),
    ("aud-number", "an audience that is a number", TOKEN_REFUSALS),
    ("aud-object", "an audience that is an object", TOKEN_REFUSALS),
    ("iss-other", "an issuer that nobody registered", &["token_issuer"]),
    ("iss-absent", "no issuer", TOKEN_REFUSALS),
    ("iss-slash", "an issuer with a slash more", &["token_issuer"]),
    ("iss-case", "an issuer in another case", &["token_issuer"]),
    ("iss-local", "the built-in issuer by another's key", TOKEN_REFUSALS),
    ("iss-list", "an issuer that is a list", TOKEN_REFUSALS),
    ("exp-past", "a token that has ended", &["token_expired"]),
    ("exp-absent", "a token without an end", TOKEN_REFUSALS),
    ("exp-text", "an end that is text", TOKEN_REFUSALS),
    ("exp-negative", "an end before all time", TOKEN_REFUSALS),
    ("exp-zero", "an end of 0", TOKEN_REFUSALS),
    ("nbf-future", "a token of tomorrow", &["token_not_yet_valid"]),
    ("iat-future", "a token that was issued tomorrow", &["token_not_yet_valid"]),
    ("sub-other", "a subject that nobody registered", &["principal_unknown"]),
    ("sub-absent", "no subject", TOKEN_REFUSALS),
    ("sub-empty", "an empty subject", TOKEN_REFUSALS),
    ("sub-case", "a subject in another case", &["principal_unknown"]),
    ("sub-space", "a subject with a space more", &["principal_unknown"]),
    ("sub-nul", "a subject with a NUL", TOKEN_REFUSALS),
    ("sub-list", "a subject that is a list", TOKEN_REFUSALS),
    ("sub-of-another-issuer", "a name that another issuer gave", &["principal_unknown"]),
    ("nested", "claims that are deep", TOKEN_REFUSALS),
];

/// What stands in place of a bearer token, and what is hoped for.
const ODD: &[(&str, &str, &[u8])] = &[
    ("empty", "an empty header", b""),
    ("scheme-only", "a scheme without a token", b"Bearer"),
    ("scheme-and-space", "a scheme and a space", b"Bearer "),
    ("basic", "a token as Basic", b"Basic {{alice}}"),
    ("no-scheme", "a token without a scheme", b"{{alice}}"),
    ("two-tokens", "a good token and another", b"Bearer {{alice}} {{bob}}"),
    ("two-tokens-comma", "two tokens in a list", b"Bearer {{nobody}}, Bearer {{alice}}"),
    ("list-of-schemes", "two schemes in a list", b"Basic eA==, Bearer {{alice}}"),
    ("bytes", "bytes that are no text", b"Bearer \xff\xfe{{alice}}"),
    ("trailing-bytes", "a good token and odd bytes", b"Bearer {{alice}}\xff"),
    ("nbsp", "a space that is none", b"Bearer\xc2\xa0{{alice}}"),
    ("quoted", "a quoted token", b"Bearer \"{{alice}}\""),
    ("flipped", "a token with one letter changed", b"Bearer {{flipped/alice}}"),
    ("percent", "a token in another spelling", b"Bearer {{alice}}%20"),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let named = |name: &str| format!("credentials/{name}");
    let mut probes: Vec<Probe> = Vec::new();
    for (case, tries, codes) in FORGED {
        let message = good().by(&format!("forged/{case}"));
        probes.push(Probe::new(named(case), *tries, Protocol::Mcp, message).expect(Expect::refused(codes)));
    }
    for (case, tries, value) in ODD {
        let message = good().without("Authorization").with("Authorization", value);
        probes.push(Probe::new(named(&format!("odd-{case}")), *tries, Protocol::Mcp, message));
    }
    probes.push(
        Probe::new(
            named("good"),
            "the control: a good token of that issuer passes",
            Protocol::Mcp,
            good().by("forged/good"),
        )
        .expect(Expect::passed()),
    );
    probes.extend(several());
    probes.extend(keys());
    probes.extend(hops());
    probes
}

/// More than one credential, or one where it does not belong.
fn several() -> Vec<Probe> {
    let bare = || good().without("Authorization");
    let rows: Vec<(&str, &str, Protocol, Message)> = vec![
        ("none", "no credential", Protocol::Mcp, bare()),
        ("none-a2a", "no credential", Protocol::A2a, a2a("SendMessage", MESSAGE).without("Authorization")),
        ("none-llm", "no credential", Protocol::Llm, openai(CHAT).without("Authorization")),
        (
            "twice-same",
            "the same token twice",
            Protocol::Mcp,
            good().with("Authorization", "Bearer {{alice}}"),
        ),
        ("twice-other", "a second principal", Protocol::Mcp, good().with("Authorization", "Bearer {{bob}}")),
        ("twice-empty", "a second header that is empty", Protocol::Mcp, good().with("Authorization", "")),
        (
            "twice-odd",
            "a second header of odd bytes",
            Protocol::Mcp,
            good().with("Authorization", b"\xff\xfe"),
        ),
        ("query", "a token in the query", Protocol::Mcp, bare().at("/mcp/r/tools?access_token={{alice}}")),
        (
            "cookie",
            "a token in a cookie",
            Protocol::Mcp,
            bare().with("Cookie", "Authorization=Bearer {{alice}}"),
        ),
        (
            "proxy",
            "a token for a proxy",
            Protocol::Mcp,
            bare().with("Proxy-Authorization", "Bearer {{alice}}"),
        ),
        ("key-on-mcp", "a model API's header on MCP", Protocol::Mcp, bare().with("x-api-key", "{{alice}}")),
        ("ended", "a token that was good a moment ago", Protocol::Mcp, good().by("short/alice")),
        (
            "audience",
            "a token of the built-in issuer for somebody else",
            Protocol::Mcp,
            good().by("aud/alice"),
        ),
        ("user-of-nobody", "a person whom the agent does not act for", Protocol::Mcp, good().by("for/bob")),
        ("quarantined", "an agent that was taken out of service", Protocol::Mcp, good().by("quincy")),
        ("unregistered", "a subject that nobody registered", Protocol::Mcp, good().by("stranger")),
    ];
    let probe = |(name, tries, protocol, message): (&str, &str, Protocol, Message)| {
        Probe::new(format!("credentials/{name}"), tries, protocol, message)
    };
    rows.into_iter().map(probe).collect()
}

/// The model APIs' own header for a key.
fn keys() -> Vec<Probe> {
    let alone = || anthropic(CHAT).without("Authorization").with("x-api-key", "{{alice}}");
    let rows: [(&str, &str, Message); 6] = [
        ("key-of-another", "two principals in two headers", anthropic(CHAT).with("x-api-key", "{{bob}}")),
        ("key-twice", "two principals in one header", alone().with("x-api-key", "{{bob}}")),
        ("key-twice-empty", "a second key that is empty", alone().with("x-api-key", "")),
        ("key-twice-odd", "a second key of odd bytes", alone().with("x-api-key", b"\xff")),
        ("key-empty-beside", "an empty key beside a token", anthropic(CHAT).with("x-api-key", "")),
        ("key-odd-beside", "odd bytes beside a token", anthropic(CHAT).with("x-api-key", b"\xff")),
    ];
    let probe = |(name, tries, message): (&str, &str, Message)| {
        Probe::new(format!("credentials/{name}"), tries, Protocol::Llm, message)
    };
    rows.into_iter().map(probe).collect()
}

/// Tokens that the gateway minted for a hop.
fn hops() -> Vec<Probe> {
    let rows: [(&str, &str, Message); 5] = [
        (
            "hop-beside-own",
            "a hop's token beside one's own",
            good().with("Authorization", "Bearer {{hop/alice}}"),
        ),
        ("hop-flipped", "a hop's token with a letter changed", good().by("flipped/hop/alice")),
        (
            "hop-as-key",
            "a hop's token as a model API's key of another",
            anthropic(CHAT).with("x-api-key", "{{hop/alice}}"),
        ),
        ("hop-unsigned", "a hop's token without its signature", good().by("unsigned/hop/alice")),
        (
            "hop-tail",
            "a hop's token with more behind it",
            good().without("Authorization").with("Authorization", "Bearer {{hop/alice}}.x"),
        ),
    ];
    let probe = |(name, tries, message): (&str, &str, Message)| {
        Probe::new(format!("credentials/{name}"), tries, Protocol::Mcp, message)
    };
    let mut probes: Vec<Probe> = rows.into_iter().map(probe).collect();
    // The callee itself may go on with it, and is then the callee; it may not call what only alice is permitted.
    let escalated = super::tool("pay", r#"{"amount":1}"#).by("hop/alice");
    probes.push(
        Probe::new(
            "credentials/hop-deputy",
            "the callee uses what only its caller is permitted",
            Protocol::Mcp,
            escalated,
        )
        .expect(Expect::refused(&["no_permit", "token_destination"])),
    );
    let raw = good()
        .without("Authorization")
        .with("Authorization", "Bearer {{alice}}")
        .with("X-Forwarded-Authorization", "Bearer {{hop/alice}}");
    probes.push(
        Probe::new(
            "credentials/never-upstream",
            "the caller's own token is found at the upstream",
            Protocol::Mcp,
            raw.with("X-Copy", "{{alice}}").with("Mcp-Copy", "{{alice}}").with("traceparent", "{{alice}}"),
        )
        .expect(Expect::passed().without(&["forwarded-authorization", "{{alice}}"])),
    );
    probes
}

const CHAT: &str = r#"{"model":"small","max_tokens":5,"messages":[]}"#;
