//! Keys that have no form of their own, and are known by the name of the service beside them: derived from gitleaks as those in [`super`] are. Ids that are
//! no secrets are left out, and of each value letters and digits are asked for.

use crate::patterns::{Rule, entropy, rule};

/// A value that is assigned to something in whose name a service has its own.
macro_rules! assigned {
    ($service:literal, $value:literal) => {
        concat!(
            r"(?i-u)(?:",
            $service,
            r#")[ \t\w.-]{0,20}[\s'"]{0,3}(?:=|:{1,3}=|:|=>|\?=)[\x60'"\s=]{0,5}("#,
            $value,
            r")\b"
        )
    };
}

pub(super) const TABLE: &[Rule] = &[
    rule("adafruit-api-key", &["adafruit"], assigned!("adafruit", "[a-z0-9_-]{32}"), is_mixed),
    rule("airtable-api-key", &["airtable"], assigned!("airtable", "[a-z0-9]{17}"), is_mixed),
    rule("algolia-api-key", &["algolia"], assigned!("algolia", "[a-z0-9]{32}"), is_mixed),
    rule("alibaba-secret-key", &["alibaba"], assigned!("alibaba", "[a-z0-9]{30}"), is_mixed),
    rule("asana-client-secret", &["asana"], assigned!("asana", "[a-z0-9]{32}"), is_mixed),
    rule(
        "atlassian-api-token",
        &["atlassian", "confluence", "jira"],
        assigned!("atlassian|confluence|jira", "[a-z0-9]{20}[a-f0-9]{4}"),
        is_mixed,
    ),
    rule("beamer-api-token", &["beamer"], assigned!("beamer", "b_[a-z0-9=_-]{44}"), is_mixed),
    rule("bitbucket-client-secret", &["bitbucket"], assigned!("bitbucket", "[a-z0-9=_-]{64}"), is_mixed),
    rule("bittrex-key", &["bittrex"], assigned!("bittrex", "[a-z0-9]{32}"), is_mixed),
    rule("cisco-meraki-api-key", &["meraki"], assigned!("meraki", "[0-9a-f]{40}"), is_mixed),
    rule(
        "cloudflare-api-key",
        &["cloudflare"],
        assigned!("cloudflare", "[a-z0-9_-]{40}|[a-f0-9]{37}"),
        is_mixed,
    ),
    rule("codecov-access-token", &["codecov"], assigned!("codecov", "[a-z0-9]{32}"), is_mixed),
    rule(
        "cohere-api-token",
        &["cohere", "co_api_key"],
        assigned!("cohere|co_api_key", "[a-z0-9]{40}"),
        is_mixed,
    ),
    rule("coinbase-access-token", &["coinbase"], assigned!("coinbase", "[a-z0-9_-]{64}"), is_mixed),
    rule("confluent-key", &["confluent"], assigned!("confluent", "[a-z0-9]{64}|[a-z0-9]{16}"), is_mixed),
    rule(
        "contentful-delivery-api-token",
        &["contentful"],
        assigned!("contentful", "[a-z0-9=_-]{43}"),
        is_mixed,
    ),
    rule("datadog-access-token", &["datadog"], assigned!("datadog", "[a-z0-9]{40}|[a-f0-9]{32}"), is_mixed),
    rule("discord-api-token", &["discord"], assigned!("discord", "[a-f0-9]{64}|[a-z0-9=_-]{32}"), is_mixed),
    rule("droneci-access-token", &["droneci"], assigned!("droneci", "[a-z0-9]{32}"), is_mixed),
    rule(
        "dropbox-api-token",
        &["dropbox"],
        assigned!("dropbox", "sl\\.[a-z0-9=_-]{135}|[a-z0-9]{11}AAAAAAAAAA[a-z0-9=_-]{43}|[a-z0-9]{15}"),
        is_mixed,
    ),
    rule("etsy-access-token", &["etsy"], assigned!("etsy", "[a-z0-9]{24}"), is_mixed),
    rule("facebook-secret", &["facebook"], assigned!("facebook", "[a-f0-9]{32}"), is_mixed),
    rule("fastly-api-token", &["fastly"], assigned!("fastly", "[a-z0-9=_-]{32}"), is_mixed),
    rule("finicity-secret", &["finicity"], assigned!("finicity", "[a-f0-9]{32}|[a-z0-9]{20}"), is_mixed),
    rule("finnhub-access-token", &["finnhub"], assigned!("finnhub", "[a-z0-9]{20}"), is_mixed),
    rule("flickr-access-token", &["flickr"], assigned!("flickr", "[a-z0-9]{32}"), is_mixed),
    rule("freshbooks-access-token", &["freshbooks"], assigned!("freshbooks", "[a-z0-9]{64}"), is_mixed),
    rule("gitter-access-token", &["gitter"], assigned!("gitter", "[a-z0-9_-]{40}"), is_mixed),
    rule("gocardless-api-token", &["gocardless"], assigned!("gocardless", "live_[a-z0-9_=-]{40}"), is_mixed),
    rule(
        "heroku-api-key",
        &["heroku"],
        assigned!("heroku", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        is_mixed,
    ),
    rule(
        "hubspot-api-key",
        &["hubspot"],
        assigned!("hubspot", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        is_mixed,
    ),
    rule("intercom-api-key", &["intercom"], assigned!("intercom", "[a-z0-9=_-]{60}"), is_mixed),
    rule(
        "jfrog-token",
        &["jfrog", "artifactory", "bintray"],
        assigned!("jfrog|artifactory|bintray", "[a-z0-9]{73}|[a-z0-9]{64}"),
        is_mixed,
    ),
    rule("kraken-access-token", &["kraken"], assigned!("kraken", "[a-z0-9/=_+-]{80,90}"), is_mixed),
    rule(
        "launchdarkly-access-token",
        &["launchdarkly"],
        assigned!("launchdarkly", "[a-z0-9=_-]{40}"),
        is_mixed,
    ),
    rule(
        "linkedin-client-secret",
        &["linkedin", "linked_in"],
        assigned!("linked[_-]?in", "[a-z0-9]{16}"),
        is_mixed,
    ),
    rule("looker-client-secret", &["looker"], assigned!("looker", "[a-z0-9]{24}"), is_mixed),
    rule("mailchimp-api-key", &["mailchimp"], assigned!("mailchimp", "[a-f0-9]{32}-us\\d\\d"), is_mixed),
    rule(
        "mailgun-api-key",
        &["mailgun"],
        assigned!("mailgun", "key-[a-f0-9]{32}|[a-h0-9]{32}-[a-h0-9]{8}-[a-h0-9]{8}"),
        is_mixed,
    ),
    rule(
        "mapbox-api-token",
        &["mapbox"],
        assigned!("mapbox", "[ps]k\\.[a-z0-9]{60}\\.[a-z0-9]{22}"),
        is_mixed,
    ),
    rule("mattermost-access-token", &["mattermost"], assigned!("mattermost", "[a-z0-9]{26}"), is_mixed),
    rule(
        "messagebird-api-token",
        &["messagebird", "message_bird"],
        assigned!("message[_-]?bird", "[a-z0-9]{25}"),
        is_mixed,
    ),
    rule("netlify-access-token", &["netlify"], assigned!("netlify", "[a-z0-9=_-]{40,46}"), is_mixed),
    rule(
        "new-relic-user-api-id",
        &["newrelic", "new_relic", "new-relic"],
        assigned!("new[_-]?relic", "[a-z0-9]{64}"),
        is_mixed,
    ),
    rule("okta-access-token", &["okta"], assigned!("okta", "00[\\w=-]{40}"), is_mixed),
    rule(
        "plaid-secret-key",
        &["plaid"],
        assigned!("plaid", "access-(?:sandbox|development|production)-[0-9a-f-]{36}|[a-z0-9]{30}"),
        is_mixed,
    ),
    rule("rapidapi-access-token", &["rapidapi"], assigned!("rapidapi", "[a-z0-9_-]{50}"), is_mixed),
    rule("sendbird-access-token", &["sendbird"], assigned!("sendbird", "[a-f0-9]{40}"), is_mixed),
    rule("sentry-access-token", &["sentry"], assigned!("sentry", "[a-f0-9]{64}"), is_mixed),
    rule(
        "snyk-api-token",
        &["snyk"],
        assigned!("snyk", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        is_mixed,
    ),
    rule(
        "sonar-api-token",
        &["sonar"],
        assigned!("sonar[_.-]?(?:login|token)", "(?:sq[upa]_)?[a-z0-9=_-]{40}"),
        is_mixed,
    ),
    rule(
        "squarespace-access-token",
        &["squarespace"],
        assigned!("squarespace", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        is_mixed,
    ),
    rule("sumologic-access-token", &["sumo"], assigned!("sumo", "[a-z0-9]{64}"), is_mixed),
    rule("travisci-access-token", &["travis"], assigned!("travis", "[a-z0-9]{22}"), is_mixed),
    rule("twilio-auth-token", &["twilio"], assigned!("twilio", "[a-f0-9]{32}"), is_mixed),
    rule("twitch-api-token", &["twitch"], assigned!("twitch", "[a-z0-9]{30}"), is_mixed),
    rule(
        "twitter-secret",
        &["twitter"],
        assigned!(
            "twitter",
            "A{22}[a-z0-9%]{80,100}|[0-9]{15,25}-[a-z0-9]{20,40}|[a-z0-9]{50}|[a-z0-9]{45}|[a-z0-9]{25}"
        ),
        is_mixed,
    ),
    rule(
        "yandex-token",
        &["yandex"],
        assigned!(
            "yandex",
            "t1\\.[a-z0-9_-]+={0,2}\\.[a-z0-9_-]{86}={0,2}|AQVN[a-z0-9_-]{35,38}|YC[a-z0-9_-]{38}"
        ),
        is_mixed,
    ),
    rule("zendesk-secret-key", &["zendesk"], assigned!("zendesk", "[a-z0-9]{40}"), is_mixed),
];

/// Nobody made it up by hand: it has letters and digits, and no word's repetition.
fn is_mixed(text: &str) -> bool {
    entropy(text) >= 2.5
        && text.contains(|one: char| one.is_ascii_digit())
        && text.contains(|one: char| one.is_ascii_alphabetic())
}
