//! Whatever is presented: no panic, and nothing but the very token authenticates.
//!
//! `VIDIMUS_PROPERTY_CASES` sets how many cases of each property there are (2,000 by default).

use proptest::prelude::*;
use vidimus_core::refusal::Code;

use crate::world::{World, code};

/// One world and one runtime for all cases of a property.
fn with_world(check: impl FnOnce(&World, &tokio::runtime::Runtime)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    check(&World::new(), &runtime);
}

fn config() -> ProptestConfig {
    let cases = std::env::var("VIDIMUS_PROPERTY_CASES").map_or(2000, |text| text.parse().unwrap());
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn arbitrary_text_never_authenticates() {
    with_world(|world, runtime| {
        let text = prop_oneof![
            any::<String>(),
            "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}",
            (".{0,60}", ".{0,200}", proptest::collection::vec(any::<u8>(), 0..80)).prop_map(
                |(header, payload, signature)| {
                    vidimus_testkit::issuer::compact(&header, &payload, &signature)
                }
            ),
        ];
        let mut runner = proptest::test_runner::TestRunner::new(config());
        runner
            .run(&text, |text| {
                let refused = runtime.block_on(world.bearer(&text)).unwrap_err();
                prop_assert!(
                    matches!(refused.code, Code::TokenMalformed | Code::TokenAlgorithm | Code::TokenIssuer),
                    "{refused}"
                );
                Ok(())
            })
            .unwrap();
    });
}

/// JSON of any shape in the place of the claims, properly signed.
#[test]
fn arbitrary_claims_never_panic() {
    with_world(|world, runtime| {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,20}".prop_map(Into::into),
        ];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::hash_map("act|sub|iss|x", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        });
        let claim = "iss|sub|aud|exp|nbf|iat|act|email|email_verified|sub_id|dst|txn|depth";
        let claims = proptest::collection::hash_map(claim, value, 0..3);
        let mut runner = proptest::test_runner::TestRunner::new(config());
        runner
            .run(&claims, |claims| {
                let claims = serde_json::Value::Object(claims.into_iter().collect());
                // Either refused, or still the principal that the other claims name.
                let result = runtime.block_on(world.bearer(&world.token(claims.clone())));
                if let Ok(name) = code(&result) {
                    prop_assert_eq!(name, "Agent/finance/invoice-bot", "{}", claims);
                }
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn a_changed_token_never_authenticates() {
    with_world(|world, runtime| {
        let good = world.token(serde_json::json!({}));
        assert!(runtime.block_on(world.bearer(&good)).is_ok());
        let change =
            (0..good.len(), prop_oneof![Just(None), "[A-Za-z0-9_.=+-]".prop_map(Some)], any::<bool>());
        let mut runner = proptest::test_runner::TestRunner::new(config());
        runner
            .run(&change, |(at, with, insert)| {
                let mut changed = good.clone();
                let end = if insert { at } else { at + 1 };
                changed.replace_range(at..end, with.as_deref().unwrap_or_default());
                prop_assume!(changed != good);
                let result = runtime.block_on(world.bearer(&changed));
                prop_assert!(result.is_err(), "{changed}");
                Ok(())
            })
            .unwrap();
        assert!(runtime.block_on(world.bearer(&good)).is_ok(), "the good one still is");
    });
}

/// Every single bit of a token's bytes matters, the unused ones of the last character too.
#[test]
fn no_second_spelling_of_a_token_exists() {
    with_world(|world, runtime| {
        let good = world.token(serde_json::json!({}));
        assert!(runtime.block_on(world.bearer(&good)).is_ok());
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for end in [good.find('.').unwrap(), good.rfind('.').unwrap(), good.len()] {
            let last = good.as_bytes()[end - 1] as char;
            for other in alphabet.chars().filter(|c| *c != last) {
                let mut changed = good.clone();
                changed.replace_range(end - 1..end, &other.to_string());
                assert!(runtime.block_on(world.bearer(&changed)).is_err(), "{other} for {last}");
            }
        }
    });
}
