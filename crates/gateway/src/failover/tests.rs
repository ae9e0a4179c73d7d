use http::HeaderValue;
use vidimus_core::entity::{EntityId, EntityKind};

use super::*;
use crate::protocol::tests::provider;

fn candidates(weights: &[u16]) -> Vec<Candidate> {
    let candidate = |(which, weight): (usize, &u16)| {
        let id = EntityId::new(EntityKind::LlmProvider, format!("platform/{which}"));
        let provider = Arc::new(LlmProvider { id, ..(*provider()).clone() });
        Candidate { provider, model: "m".into(), weight: *weight }
    };
    weights.iter().enumerate().map(candidate).collect()
}

fn name(candidates: &[Candidate], which: usize) -> Arc<str> {
    candidates[which].provider.id.id.clone()
}

/// A caller.
fn one() -> Arc<str> {
    "platform/one".into()
}

/// How often each comes first in so many calls.
fn firsts(failovers: &Failovers, candidates: &[Candidate], calls: usize, now: Instant) -> Vec<usize> {
    let mut firsts = vec![0; candidates.len()];
    for _ in 0..calls {
        firsts[failovers.order(candidates, &one(), now)[0]] += 1;
    }
    firsts
}

#[test]
fn each_has_its_share_and_who_has_none_comes_last() {
    let (failovers, candidates, now) = (Failovers::default(), candidates(&[3, 1, 0]), Instant::now());
    assert_eq!(firsts(&failovers, &candidates, 400, now), [300, 100, 0]);
    for _ in 0..8 {
        assert_eq!(failovers.order(&candidates, &one(), now).last(), Some(&2));
    }
    let none = self::candidates(&[0, 0]);
    assert_eq!(Failovers::default().order(&none, &one(), now), [0, 1]);
    let many = self::candidates(&[1, 0, 0, 0, 0]);
    assert_eq!(Failovers::default().order(&many, &one(), now), [0, 1, 2]);
}

#[test]
fn who_fails_is_set_aside_for_a_time_that_grows_and_has_an_end() {
    let (failovers, candidates, begin) = (Failovers::default(), candidates(&[1, 0]), Instant::now());
    let called = name(&candidates, 0);
    for _ in 0..FAILURES - 1 {
        failovers.failed((&called, &one()), None, begin);
    }
    assert_eq!(failovers.order(&candidates, &one(), begin), [0, 1]);
    assert_eq!(failovers.failed((&called, &one()), None, begin), Some(ASIDE));
    assert_eq!(failovers.order(&candidates, &one(), begin + ASIDE - Duration::from_secs(1)), [1]);
    assert_eq!(failovers.order(&candidates, &one(), begin + ASIDE), [0, 1]);
    for _ in 0..100 * FAILURES {
        failovers.failed((&called, &one()), None, begin);
    }
    assert_eq!(failovers.order(&candidates, &one(), begin + LONGEST - Duration::from_secs(1)), [1]);
    assert_eq!(failovers.order(&candidates, &one(), begin + LONGEST), [0, 1]);
    // Who answers between failures is not set aside by them.
    let other = name(&candidates, 1);
    for _ in 0..100 {
        failovers.failed((&other, &one()), None, begin);
        failovers.did_well(&other);
    }
    assert_eq!(failovers.order(&candidates, &one(), begin), [1]);
}

#[test]
fn who_says_when_it_can_be_asked_again_is_not_asked_before() {
    let (failovers, candidates, begin) = (Failovers::default(), candidates(&[1, 1]), Instant::now());
    failovers.failed((&name(&candidates, 0), &one()), Some(Duration::from_secs(7)), begin);
    assert_eq!(failovers.order(&candidates, &one(), begin + Duration::from_secs(6)), [1]);
    assert_eq!(failovers.order(&candidates, &one(), begin + Duration::from_secs(7)).len(), 2);
    // Attack: a provider that is never to be asked again.
    failovers.failed((&name(&candidates, 0), &one()), Some(Duration::MAX), begin);
    assert_eq!(failovers.order(&candidates, &one(), begin + LONGEST).len(), 2);
    // Where nobody is left, who was called answers for itself.
    for which in 0..2 {
        failovers.failed((&name(&candidates, which), &one()), Some(LONGEST), begin);
    }
    assert_eq!(failovers.order(&candidates, &one(), begin), [0]);

    let headers = |text: &'static str| HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
    // Fri, 27 Nov 2026 07:59:00 GMT.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_766_340);
    for (said, seconds) in [
        ("20", 20),
        ("Fri, 27 Nov 2026 08:00:00 GMT", 60),
        ("Fri, 27 Nov 2026 07:00:00 GMT", 0),
        ("soon", ASIDE.as_secs()),
        ("Mon, 27 Nov 2026", ASIDE.as_secs()),
    ] {
        assert_eq!(again_after(&headers(said), now), Some(Duration::from_secs(seconds)), "{said}");
    }
    assert_eq!(again_after(&HeaderMap::new(), now), None);
}

/// Attack: a caller whose calls make a provider fail, so that everybody's go to another one.
#[test]
fn who_fails_one_caller_is_set_aside_for_that_one() {
    let (failovers, candidates, begin) = (Failovers::default(), candidates(&[1, 0]), Instant::now());
    let (called, other): (_, Arc<str>) = (name(&candidates, 0), "platform/other".into());
    for _ in 0..FAILURES {
        failovers.failed((&called, &one()), None, begin);
    }
    assert_eq!(failovers.order(&candidates, &one(), begin), [1]);
    assert_eq!(failovers.order(&candidates, &other, begin), [0, 1]);
    // It fails the other too: then it fails, and not what is asked.
    for _ in 0..FAILURES {
        failovers.failed((&called, &other), None, begin);
    }
    for caller in [one(), other.clone(), "platform/third".into()] {
        assert_eq!(failovers.order(&candidates, &caller, begin), [1], "{caller}");
    }
    // So it is where their calls fail by turns.
    let failovers = Failovers::default();
    for which in 0..FAILURES {
        let caller = if which % 2 == 0 { one() } else { other.clone() };
        failovers.failed((&called, &caller), None, begin);
    }
    assert_eq!(failovers.order(&candidates, &"platform/third".into(), begin), [1]);
}

/// Attack: a caller that has a provider say for how long it is to be left alone, so that it is for everybody.
#[test]
fn who_says_to_one_caller_when_to_come_again_is_set_aside_for_that_one() {
    let (failovers, candidates, begin) = (Failovers::default(), candidates(&[1, 0]), Instant::now());
    let (called, other): (_, Arc<str>) = (name(&candidates, 0), "platform/other".into());
    assert_eq!(failovers.failed((&called, &one()), Some(LONGEST), begin), Some(LONGEST));
    assert_eq!(failovers.order(&candidates, &one(), begin), [1]);
    assert_eq!(failovers.order(&candidates, &other, begin), [0, 1]);
    // It answers the other, and says it to it later.
    failovers.did_well(&called);
    assert_eq!(failovers.order(&candidates, &one(), begin), [1]);
    failovers.failed((&called, &other), Some(LONGEST), begin);
    assert_eq!(failovers.order(&candidates, &"platform/third".into(), begin), [1]);
}

/// Attack: everything fails, and each call is sent several times over.
#[test]
fn further_tries_are_a_share_of_the_calls() {
    let (failovers, candidates, now) = (Failovers::default(), candidates(&[1, 0]), Instant::now());
    let called = name(&candidates, 0);
    let mut tries = 0;
    for _ in 0..1000 {
        failovers.order(&candidates, &one(), now);
        tries += u32::from(failovers.may_try_again(&called));
    }
    assert_eq!(tries, (FIRST + 1000 * ADDS) / TAKES);
    // Calls that need none save for later, and not for ever.
    for _ in 0..10_000 {
        failovers.order(&candidates, &one(), now);
    }
    let saved = (0..10_000).filter(|_| failovers.may_try_again(&called)).count();
    assert_eq!(saved, (MOST / TAKES) as usize);
}

#[test]
fn what_another_may_be_asked_after() {
    let of = |kind, credential: &CredentialSource, status| {
        let credential = credential.clone();
        let provider = LlmProvider { provider: kind, credential, ..(*provider()).clone() };
        is_of_failure(&provider, StatusCode::from_u16(status).expect("a status"))
    };
    let key = CredentialSource::Env("KEY".into());
    for (status, expected) in [
        (200, false),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (429, true),
        (500, true),
        (529, true),
    ] {
        assert_eq!(of(ProviderType::OpenAi, &key, status), expected, "{status}");
    }
    // A 403 is of the key at some. Attack: what one provider does not let be said is asked of the next one, until somebody does.
    for (kind, expected) in [
        (ProviderType::Bedrock, true),
        (ProviderType::Gemini, true),
        (ProviderType::OpenAiCompatible, false),
        (ProviderType::Anthropic, false),
        (ProviderType::Azure, false),
    ] {
        assert_eq!(of(kind, &key, 403), expected, "{kind:?}");
        assert!(!of(kind, &CredentialSource::None, 403), "{kind:?}");
    }
}
