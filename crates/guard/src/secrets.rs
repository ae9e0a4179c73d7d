//! Keys, tokens and passwords. The rules are derived from those of gitleaks (<https://github.com/gitleaks/gitleaks>, `config/gitleaks.toml` at
//! b58d3f102cf3 of 2026-07-22, behind its release 8.30.1; MIT licence, in `LICENSE-gitleaks`), with their entropies: all but those of files and of
//! command lines, and of ids that are no secrets. What they ask for behind a token (a quote, a space, the end) is left out: those are files of code, and
//! this is anything.

mod services;
mod tokens;

use std::sync::LazyLock;

use vidimus_core::guard::Kinds;

use crate::patterns::{Fault, Place, Rule, Rules, any, entropy, rule};

static RULES: LazyLock<Result<Rules, Fault>> =
    LazyLock::new(|| Rules::new(&[TABLE, tokens::TABLE, services::TABLE].concat()));

/// The kind of a key in lines.
const PRIVATE_KEY: &str = "private-key";

/// Longest value that is looked at together with the name of its member: no password is longer.
const MAX_NAMED: usize = 256;

pub(crate) fn find(name: &str, text: &str) -> Result<Kinds, &'static Fault> {
    Ok(RULES.as_ref()?.find_named(text, assigned(name, text)))
}

/// Where that stands; `None` where more of the text belongs to it than is found.
pub(crate) fn places(name: &str, text: &str) -> Result<Option<Vec<Place>>, &'static Fault> {
    let mut found = RULES.as_ref()?.places_named(text, assigned(name, text));
    // Of a key in lines only the first is found.
    if found.iter().any(|place| place.kind == PRIVATE_KEY) {
        return Ok(None);
    }
    for place in &mut found {
        // A rule may ask for fewer letters than a token has.
        let behind = text.get(place.at.end..).unwrap_or_default();
        let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+/=~".contains(byte);
        place.at.end += behind.bytes().take_while(|byte| is_of_token(byte)).count();
    }
    Ok(Some(found))
}

/// A value with the name of its member, which is an assignment to it; `None` where it cannot be a password, or nobody named it.
fn assigned(name: &str, text: &str) -> Option<String> {
    let text = text.trim();
    let is_one_word = text.len() <= MAX_NAMED && !text.contains(char::is_whitespace);
    (!name.is_empty() && is_one_word).then(|| format!("{name} = \"{text}\""))
}

fn above_2(text: &str) -> bool {
    entropy(text) >= 2.0
}

fn above_3(text: &str) -> bool {
    entropy(text) >= 3.0
}

/// Amazon's own documentation has keys that end so.
fn is_aws(text: &str) -> bool {
    above_3(text) && !text.ends_with("EXAMPLE")
}

/// A value that nobody made up by hand: gitleaks takes none of letters alone, and none of the words that stand for a secret.
fn is_random(text: &str) -> bool {
    const STAND_FOR_ONE: [&str; 9] =
        ["example", "your", "xxxx", "changeme", "placeholder", "redacted", "dummy", "sample", "12345"];
    let lower = text.to_ascii_lowercase();
    entropy(text) >= 3.5
        && text.contains(|one: char| one.is_ascii_digit())
        && text.contains(|one: char| one.is_ascii_alphabetic())
        && !STAND_FOR_ONE.iter().any(|word| lower.contains(word))
}

/// Of each its kind (gitleaks' id), the words that it needs, its pattern, and what fits.
const TABLE: &[Rule] = &[
    rule(
        "age-secret-key",
        &["age-secret-key-1"],
        r"(?-u)AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
        any,
    ),
    rule("anthropic-api-key", &["sk-ant-"], r"(?-u)\bsk-ant-(?:api03|admin01)-[a-zA-Z0-9_\-]{93}AA", any),
    rule(
        "aws-access-token",
        &["a3t", "akia", "asia", "abia", "acca"],
        r"(?-u)\b((?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b",
        is_aws,
    ),
    rule(
        "azure-ad-client-secret",
        &["q~"],
        r#"(?-u)(?:^|[\\'"\x60\s>=:(,)])([a-zA-Z0-9_~.]{3}\dQ~[a-zA-Z0-9_~.-]{31,34})"#,
        above_3,
    ),
    rule("databricks-api-token", &["dapi"], r"(?-u)\bdapi[a-f0-9]{32}(?:-\d)?\b", above_3),
    rule("digitalocean-pat", &["dop_v1_"], r"(?-u)\bdop_v1_[a-f0-9]{64}\b", above_3),
    rule("doppler-api-token", &["dp.pt."], r"(?-u)dp\.pt\.[A-Za-z0-9]{43}", above_2),
    rule("gcp-api-key", &["aiza"], r"(?-u)\bAIza[\w-]{35}", above_3),
    rule(
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"(?-u)gh[pousr]_[0-9a-zA-Z]{36}",
        above_3,
    ),
    rule("github-fine-grained-pat", &["github_pat_"], r"(?-u)github_pat_\w{82}", above_3),
    rule("gitlab-pat", &["glpat-"], r"(?-u)glpat-[\w-]{20}", above_3),
    rule("grafana-service-account-token", &["glsa_"], r"(?-u)\bglsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}", above_3),
    rule(
        "hashicorp-tf-api-token",
        &["atlasv1"],
        r"(?-u)[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9\-_=]{60,70}",
        above_3,
    ),
    rule("huggingface-access-token", &["hf_"], r"(?-u)\bhf_[A-Za-z]{34}", above_2),
    rule("jwt", &["ey"], r"(?-u)\bey[a-zA-Z0-9]{17,}\.ey[a-zA-Z0-9/_-]{17,}\.[a-zA-Z0-9/_-]{10,}", above_3),
    rule("linear-api-key", &["lin_api_"], r"(?-u)lin_api_[A-Za-z0-9]{40}", above_2),
    rule("npm-access-token", &["npm_"], r"(?-u)\bnpm_[A-Za-z0-9]{36}", above_2),
    rule(
        "openai-api-key",
        &["t3blbkfj"],
        r"(?-u)\bsk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,74}T3BlbkFJ[A-Za-z0-9_-]{20,74}",
        above_3,
    ),
    rule("planetscale-password", &["pscale_pw_"], r"(?-u)\bpscale_pw_[\w=.-]{32,64}", above_3),
    rule("postman-api-token", &["pmak-"], r"(?-u)\bPMAK-[A-Fa-f0-9]{24}-[A-Fa-f0-9]{34}", above_3),
    rule(
        PRIVATE_KEY,
        &["-----begin"],
        r"(?i-u)-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n|\\r){0,4}[\x20-\x7e]{16}",
        any,
    ),
    rule("pulumi-api-token", &["pul-"], r"(?-u)\bpul-[a-f0-9]{40}\b", above_2),
    rule("pypi-upload-token", &["pypi-ageichlwas5vcmc"], r"(?-u)pypi-AgEIcHlwaS5vcmc[\w-]{50,}", above_3),
    rule("rubygems-api-token", &["rubygems_"], r"(?-u)\brubygems_[a-f0-9]{48}", above_2),
    rule("sendgrid-api-token", &["sg."], r"(?-u)\bSG\.[A-Za-z0-9=_.-]{66}", above_2),
    rule("sentry-user-token", &["sntryu_"], r"(?-u)\bsntryu_[a-f0-9]{64}", above_3),
    rule("shopify-access-token", &["shpat_"], r"(?-u)shpat_[a-fA-F0-9]{32}", above_2),
    rule("slack-app-token", &["xapp"], r"(?i-u)xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+", above_2),
    rule(
        "slack-token",
        &["xoxb-", "xoxp-", "xoxe-"],
        r"(?-u)xox(?:b-[0-9]{10,13}|[pe](?:-[0-9]{10,13}){2})-[0-9]{10,13}[a-zA-Z0-9-]*",
        above_2,
    ),
    rule(
        "slack-webhook-url",
        &["hooks.slack.com"],
        r"(?-u)hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{43,56}",
        any,
    ),
    rule("square-access-token", &["sq0atp-"], r"(?-u)\bsq0atp-[\w-]{22,60}", above_2),
    rule(
        "stripe-access-token",
        &["sk_", "rk_"],
        r"(?-u)\b(?:sk|rk)_(?:test|live|prod)_[a-zA-Z0-9]{10,99}",
        above_2,
    ),
    rule("vault-service-token", &["hvs."], r"(?-u)\bhvs\.[\w-]{90,120}", above_3),
    rule(
        "generic-api-key",
        &["access", "api", "auth", "key", "credential", "creds", "passwd", "password", "secret", "token"],
        r#"(?i-u)(?:access|auth|api|credential|creds|key|passw(?:or)?d|secret|token)[ \t\w.-]{0,20}[\s'"]{0,3}(?:=|:{1,3}=|:|=>|\?=)[\x60'"\s=]{0,5}([\w.=+/-]{10,150})"#,
        is_random,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(name: &str, text: &str) -> Vec<std::borrow::Cow<'static, str>> {
        find(name, text).unwrap().into_keys().collect()
    }

    fn random(alphabet: &str, length: usize) -> String {
        let all: Vec<char> = alphabet.chars().collect();
        let mut state = 77_u64;
        let mut next = || {
            state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff;
            usize::try_from(state >> 16).unwrap()
        };
        (0..length).map(|_| all[next() % all.len()]).collect()
    }

    const HEX: &str = "0123456789abcdef";
    const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    /// Put together here: no scanner has to be told that these are nobody's.
    #[test]
    fn what_is_a_secret_is_found() {
        let word = |length| random(WORD, length);
        let hex = |length| random(HEX, length);
        for (kind, text) in [
            (
                "aws-access-token",
                format!("id AKIA{}, use it", random("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
            ),
            ("gcp-api-key", format!("AIza{}", word(35))),
            ("github-token", format!("https://x:ghp_{}@github.com", word(36))),
            ("github-fine-grained-pat", format!("github_pat_{}", word(82))),
            ("gitlab-pat", format!("(glpat-{})", word(20))),
            ("slack-token", format!("xoxb-123456789012-123456789012-{}", word(24))),
            ("stripe-access-token", format!("sk_live_{}", word(24))),
            ("openai-api-key", format!("sk-proj-{}T3BlbkFJ{}", word(74), word(74))),
            ("anthropic-api-key", format!("sk-ant-api03-{}AA", word(93))),
            ("npm-access-token", format!("npm_{}", word(36))),
            ("digitalocean-pat", format!("dop_v1_{}", hex(64))),
            ("private-key", format!("-----BEGIN RSA PRIVATE KEY-----\n{}", word(64))),
            ("private-key", format!("-----BEGIN PRIVATE KEY-----\\n{}", word(64))),
            ("jwt", format!("Bearer ey{}.ey{}.{}", word(30), word(40), word(43))),
            ("generic-api-key", format!("db_password = '{}'", word(20))),
            ("generic-api-key", format!("X-Api-Key: {}", hex(40))),
            ("gitlab-token", format!("glrt-{}", word(20))),
            ("gitlab-token", format!("gldt-{}", word(20))),
            ("perplexity-api-key", format!("pplx-{}", word(48))),
            ("xai-api-key", format!("xai-{}", word(80))),
            ("groq-api-key", format!("gsk_{}", word(52))),
            ("notion-api-token", format!("ntn_12345678901{}", word(35))),
            ("twilio-api-key", format!("SK{}", hex(32))),
            ("twilio-auth-token", format!("TWILIO_AUTH: {}", hex(32))),
            ("telegram-bot-api-token", format!("bot 123456789:AA{}", word(33))),
            ("discord-api-token", format!("discord_bot = {}", hex(64))),
            ("datadog-access-token", format!("datadog: '{}'", hex(40))),
            ("okta-access-token", format!("okta => 00{}", word(40))),
            ("mailgun-api-key", format!("MAILGUN=key-{}", hex(32))),
            ("cloudflare-api-key", format!("cloudflare_global: {}", hex(37))),
            ("vault-batch-token", format!("hvb.{}", word(150))),
            (
                "basic-auth",
                format!("Authorization: Basic {}", data_encoding::BASE64.encode(b"ada:correct horse")),
            ),
            ("bearer-token", format!("\"authorization\": \"Bearer {}\"", word(40))),
            ("password-in-url", format!("postgres://ada:{}@db.example/x", word(12))),
            ("password-in-url", "redis://:s3cr3t-0f-m1ne@cache:6379".to_owned()),
        ] {
            assert!(kinds("", &text).contains(&kind.into()), "{kind}: {text}");
        }
        assert_eq!(kinds("password", "k8Jq2-vT9xLw3Zp"), ["generic-api-key"]);
        assert_eq!(kinds("note", "k8Jq2-vT9xLw3Zp"), Vec::<&str>::new());
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        for (name, text) in [
            ("", "AKIAIOSFODNN7EXAMPLE"),
            ("", "AKIAAAAAAAAAAAAAAAAA"),
            ("", "ghp_short"),
            ("", "the key to the house is under the mat"),
            ("", "password: your-password-here-1"),
            ("", "token = get_token_from_environment"),
            ("", "-----BEGIN CERTIFICATE-----\nMIIB"),
            ("", "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQ"),
            ("", "commit 9fceb02d0ae598e95dc970b74767f19372d61af8"),
            ("", "eyes.eyes.eyes"),
            ("password", "correct horse battery staple"),
            ("api_key", "<your key>"),
            ("token_count", "1024"),
            ("", "postgres://user:password@localhost/db"),
            ("", "postgres://$USER:$PASSWORD@localhost/db"),
            ("", "see https://example.com:8080/a@b and mailto:ada@example.com"),
            ("", "Authorization: Basic <credentials>"),
            ("", "Authorization: Bearer YOUR_ACCESS_TOKEN_HERE"),
            ("", "twilio: see the documentation of the service"),
            ("", "SKU 12345678901234567890123456789012"),
        ] {
            assert_eq!(kinds(name, text), Vec::<&str>::new(), "{name}: {text}");
        }
    }
}
