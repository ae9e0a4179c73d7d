//! Tokens that are known by a form of their own, of more services: derived from gitleaks as those in [`super`] are, but for those of which it says otherwise.

use data_encoding::BASE64_NOPAD;

use super::{above_2, above_3, is_random};
use crate::patterns::{Rule, any, entropy, rule};

pub(super) const TABLE: &[Rule] = &[
    rule(
        "1password-secret-key",
        &["a3-"],
        r"(?-u)\bA3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}\b",
        above_3,
    ),
    rule("1password-service-account-token", &["ops_ey"], r"(?-u)\bops_eyJ[a-zA-Z0-9+/]{250,}={0,3}", above_3),
    rule("adobe-client-secret", &["p8e-"], r"(?i-u)\bp8e-[a-z0-9]{32}\b", above_2),
    rule("airtable-personal-access-token", &["pat"], r"(?-u)\bpat[a-zA-Z0-9]{14}\.[a-f0-9]{64}\b", any),
    rule("alibaba-access-key-id", &["ltai"], r"(?-u)\bLTAI[a-zA-Z0-9]{20}\b", above_2),
    rule("artifactory-api-key", &["akcp"], r"(?-u)\bAKCp[A-Za-z0-9]{69}\b", above_3),
    rule("artifactory-reference-token", &["cmvmd"], r"(?-u)\bcmVmd[A-Za-z0-9]{59}\b", above_3),
    rule("atlassian-api-token", &["atatt3"], r"(?-u)\bATATT3[A-Za-z0-9_\-=]{186}", above_3),
    rule(
        "aws-bedrock-api-key",
        &["absk", "bedrock-api-key-"],
        r"(?-u)\b(?:ABSK[A-Za-z0-9+/]{109,269}|bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t[A-Za-z0-9+/]*)={0,2}",
        above_3,
    ),
    rule("clickhouse-cloud-api-secret-key", &["4b1d"], r"(?-u)\b4b1d[A-Za-z0-9]{38}\b", above_3),
    rule("clojars-api-token", &["clojars_"], r"(?i-u)\bclojars_[a-z0-9]{60}", above_2),
    rule("cloudflare-origin-ca-key", &["v1.0-"], r"(?-u)\bv1\.0-[a-f0-9]{24}-[a-f0-9]{146}\b", above_2),
    rule("digitalocean-access-token", &["doo_v1_"], r"(?-u)\bdoo_v1_[a-f0-9]{64}\b", above_3),
    rule("digitalocean-refresh-token", &["dor_v1_"], r"(?i-u)\bdor_v1_[a-f0-9]{64}\b", any),
    // Discord's own form (its documentation, "Authentication"): the bot's id in Base64, the time, the rest.
    rule(
        "discord-bot-token",
        &["."],
        r"(?-u)\b([MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38})\b",
        is_of_discord,
    ),
    rule("duffel-api-token", &["duffel_"], r"(?i-u)\bduffel_(?:test|live)_[a-z0-9_\-=]{43}", above_2),
    rule("dynatrace-api-token", &["dt0c01."], r"(?i-u)\bdt0c01\.[a-z0-9]{24}\.[a-z0-9]{64}", above_3),
    rule("easypost-api-token", &["ezak", "eztk"], r"(?-u)\bEZ[AT]K[a-zA-Z0-9]{54}\b", above_2),
    rule("facebook-page-access-token", &["eaam", "eaac"], r"(?-u)\bEAA[MC][a-zA-Z0-9]{100,}", above_3),
    rule(
        "flutterwave-secret-key",
        &["flwseck_test"],
        r"(?i-u)\bFLWSECK_TEST-[a-h0-9]{12,32}(?:-X)?",
        above_2,
    ),
    rule(
        "flyio-access-token",
        &["fo1_", "fm1", "fm2_"],
        r"(?-u)\b(?:fo1_[\w-]{43}|fm1[ar]_[a-zA-Z0-9+/]{100,}|fm2_[a-zA-Z0-9+/]{100,})={0,3}",
        above_3,
    ),
    rule("frameio-api-token", &["fio-u-"], r"(?i-u)\bfio-u-[a-z0-9\-_=]{64}", any),
    rule(
        "gitlab-token",
        &[
            "glcbt-",
            "gldt-",
            "glffct-",
            "glft-",
            "glimt-",
            "glagent-",
            "gloas-",
            "glptt-",
            "glrt-",
            "glsoat-",
            "gr1348941",
        ],
        r"(?-u)\b(?:glcbt-[0-9a-zA-Z]{1,5}_[\w-]{20}|(?:gldt|glffct|glft|glimt|glagent|gloas|glptt|glrt|glsoat)-[\w-]{20}|GR1348941[\w-]{20})",
        above_3,
    ),
    rule("gitlab-session-cookie", &["_gitlab_session="], r"(?-u)_gitlab_session=[0-9a-z]{32}", above_3),
    rule("grafana-api-key", &["eyjrijoi"], r"(?-u)\beyJrIjoi[A-Za-z0-9]{70,400}={0,3}", above_3),
    rule("grafana-cloud-api-token", &["glc_"], r"(?-u)\bglc_[A-Za-z0-9+/]{32,400}={0,3}", above_3),
    // Of Groq's keys gitleaks has nothing.
    rule("groq-api-key", &["gsk_"], r"(?-u)\bgsk_[A-Za-z0-9]{52}\b", above_3),
    rule(
        "harness-api-key",
        &["pat.", "sat."],
        r"(?-u)\b[ps]at\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9]{24}\.[a-zA-Z0-9]{20}\b",
        any,
    ),
    rule("heroku-api-key-v2", &["hrku-aa"], r"(?-u)\bHRKU-AA[\w-]{58}", above_3),
    rule("huggingface-organization-api-token", &["api_org_"], r"(?i-u)\bapi_org_[a-z]{34}\b", above_2),
    rule("infracost-api-token", &["ico-"], r"(?-u)\bico-[a-zA-Z0-9]{32}\b", is_random),
    rule("intra42-client-secret", &["s-s4t2"], r"(?i-u)\bs-s4t2(?:ud|af)-[a-f0-9]{64}", above_3),
    rule("maxmind-license-key", &["_mmk"], r"(?-u)\b[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk\b", above_3),
    rule(
        "microsoft-teams-webhook",
        &["webhook.office.com"],
        r"(?i-u)\.webhook\.office\.com/webhookb2/[a-z0-9@-]{36,110}/IncomingWebhook/[a-z0-9]{32}/[a-z0-9-]{36}",
        any,
    ),
    rule(
        "new-relic-key",
        &["nrak-", "nrii-", "nrjs-"],
        r"(?i-u)\bNR(?:AK-[a-z0-9]{27}|II-[a-z0-9-]{32}|JS-[a-f0-9]{19})\b",
        any,
    ),
    rule("notion-api-token", &["ntn_"], r"(?-u)\bntn_[0-9]{11}[A-Za-z0-9]{35}\b", above_3),
    rule("octopus-deploy-api-key", &["api-"], r"(?-u)\bAPI-[A-Z0-9]{26}\b", is_random),
    rule("openshift-user-token", &["sha256~"], r"(?-u)\bsha256~[\w-]{43}", above_3),
    rule("perplexity-api-key", &["pplx-"], r"(?-u)\bpplx-[a-zA-Z0-9]{48}\b", above_3),
    rule(
        "planetscale-token",
        &["pscale_tkn_", "pscale_oauth_"],
        r"(?-u)\bpscale_(?:tkn|oauth)_[\w=.-]{32,64}",
        above_3,
    ),
    rule("prefect-api-token", &["pnu_"], r"(?-u)\bpnu_[a-zA-Z0-9]{36}\b", above_2),
    rule("readme-api-token", &["rdme_"], r"(?-u)\brdme_[a-z0-9]{70}\b", above_2),
    rule("scalingo-api-token", &["tk-us-"], r"(?-u)\btk-us-[\w-]{48}", above_2),
    rule("sendinblue-api-token", &["xkeysib-"], r"(?i-u)\bxkeysib-[a-f0-9]{64}-[a-z0-9]{16}\b", above_2),
    rule(
        "sentry-org-token",
        &["sntrys_ey"],
        r"(?-u)\bsntrys_eyJpYXQiO[a-zA-Z0-9+/]{20,400}={0,2}_[a-zA-Z0-9+/]{43}",
        above_3,
    ),
    rule(
        "settlemint-access-token",
        &["sm_aat", "sm_pat", "sm_sat"],
        r"(?-u)\bsm_[aps]at_[a-zA-Z0-9]{16}\b",
        above_3,
    ),
    rule("shippo-api-token", &["shippo_"], r"(?-u)\bshippo_(?:live|test)_[a-fA-F0-9]{40}\b", above_2),
    rule(
        "shopify-token",
        &["shpca_", "shppa_", "shpss_"],
        r"(?-u)\bshp(?:ca|pa|ss)_[a-fA-F0-9]{32}",
        above_2,
    ),
    rule(
        "slack-other-token",
        &["xoxe-", "xoxe.xox", "xoxo-", "xoxs-", "xoxa-", "xoxr-"],
        r"(?i-u)\bxox(?:e\.xox[bp]-\d-[a-z0-9]{163,166}|e-\d-[a-z0-9]{146}|[os]-\d+-\d+-\d+-[a-f\d]+|[ar]-(?:\d-)?[0-9a-z]{8,48})",
        above_2,
    ),
    rule(
        "sourcegraph-access-token",
        &["sgp_"],
        r"(?i-u)\bsgp_(?:(?:[a-f0-9]{16}|local)_)?[a-f0-9]{40}\b",
        above_3,
    ),
    // Also without the service's name, which gitleaks asks for.
    rule("telegram-bot-api-token", &[":a"], r"(?-u)\b([0-9]{8,10}:AA[\w-]{33})\b", above_3),
    rule("twilio-api-key", &["sk"], r"(?-u)\bSK[0-9a-fA-F]{32}\b", above_3),
    rule("typeform-api-token", &["tfp_"], r"(?i-u)\btfp_[a-z0-9\-_.=]{59}", any),
    rule("vault-batch-token", &["hvb."], r"(?-u)\bhvb\.[\w-]{138,300}", above_3),
    // Of xAI's keys gitleaks has nothing.
    rule("xai-api-key", &["xai-"], r"(?-u)\bxai-[A-Za-z0-9]{80}\b", above_3),
    // Of gitleaks' `curl-auth-header` what is a header; and a password in an address, of which it has nothing.
    rule(
        "basic-auth",
        &["basic"],
        r#"(?i-u)\bauthorization["']?\s{0,3}[:=]\s{0,3}["']?basic\s{1,3}([a-z0-9+/]{8,512}={0,2})"#,
        is_basic,
    ),
    rule(
        "bearer-token",
        &["bearer"],
        r#"(?i-u)\bauthorization["']?\s{0,3}[:=]\s{0,3}["']?bearer\s{1,3}([\w.~+/-]{16,2048}={0,2})"#,
        is_random,
    ),
    rule(
        "password-in-url",
        &["://"],
        r"(?i-u)\b[a-z][a-z0-9+.-]{1,20}://[\w.%+~-]{0,64}:([\x21-\x2e\x30-\x39\x3b-\x3f\x41-\x7e]{3,128})@[\w\[]",
        is_password,
    ),
];

/// Names and passwords in Base64 (RFC 7617).
fn is_basic(text: &str) -> bool {
    let plain = text.trim_end_matches('=');
    // One letter that is left over is no byte.
    let length = if plain.len() % 4 == 1 { plain.len() - 1 } else { plain.len() };
    let decoded = plain.get(..length).and_then(|plain| BASE64_NOPAD.decode(plain.as_bytes()).ok());
    decoded.is_some_and(|said| said.contains(&b':'))
}

/// A password that does not stand for one.
fn is_password(text: &str) -> bool {
    const STAND_FOR_ONE: [&str; 12] = [
        "pass", "passwd", "password", "secret", "pwd", "token", "example", "changeme", "redacted",
        "postgres", "xxx", "pw",
    ];
    let lower = text.to_ascii_lowercase();
    let is_plain = text.starts_with(['$', '{', '<', '*', '%', '[']);
    !is_plain && !STAND_FOR_ONE.contains(&&*lower) && entropy(text) >= 1.5
}

/// A number in Base64 is what the first part is.
fn is_of_discord(text: &str) -> bool {
    let first = text.split('.').next().unwrap_or_default();
    let length = first.len() - first.len() % 4;
    let decoded = first.get(..length).and_then(|first| BASE64_NOPAD.decode(first.as_bytes()).ok());
    decoded.is_some_and(|said| said.iter().all(u8::is_ascii_digit)) && above_3(text)
}
