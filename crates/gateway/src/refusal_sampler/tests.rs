use super::*;

const CODE: Code = Code::CredentialMissing;

fn limits() -> Limits {
    Limits {
        unproven: Rate { burst: 10, per_second: 10 },
        unproven_source: Rate { burst: 4, per_second: 1 },
        unproven_sources: 3,
        refused: Rate { burst: 10, per_second: 10 },
        refused_principal: Rate { burst: 4, per_second: 1 },
        ..Limits::default()
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// How many of `attempts` at once are recorded.
fn recorded(sampler: &RefusalSampler, address: IpAddr, attempts: usize, now: Instant) -> usize {
    of(sampler, Refused::Unproven(address), attempts, now)
}

fn of(sampler: &RefusalSampler, who: Refused<'_>, attempts: usize, now: Instant) -> usize {
    let moment = Moment { wall: SystemTime::UNIX_EPOCH, monotonic: now };
    (0..attempts).filter(|_| sampler.has_record(who, CODE, moment)).count()
}

#[test]
fn a_source_has_its_burst_and_then_its_rate_and_takes_nothing_from_others() {
    let (sampler, begun) = (RefusalSampler::new(&limits()), Instant::now());
    assert_eq!(recorded(&sampler, address(1), 1_000_000, begun), 4);
    assert_eq!(recorded(&sampler, address(2), 3, begun), 3, "another one is heard");
    assert_eq!(recorded(&sampler, address(1), 100, begun + Duration::from_millis(999)), 0);
    assert_eq!(recorded(&sampler, address(1), 100, begun + Duration::from_secs(2)), 2);
    assert_eq!(
        recorded(&sampler, address(1), 100, begun + Duration::from_secs(3600)),
        4,
        "never more than a burst"
    );
}

#[test]
fn all_together_have_a_burst_and_a_rate_however_many_they_are() {
    let limits = Limits { unproven_sources: 1000, ..limits() };
    let (sampler, begun) = (RefusalSampler::new(&limits), Instant::now());
    let at = |now| (0..200).map(|last| recorded(&sampler, address(last), 3, now)).sum::<usize>();
    assert_eq!(at(begun), 10);
    assert_eq!(at(begun + Duration::from_secs(1)), 10);
    assert_eq!(at(begun + Duration::from_millis(1500)), 5);
}

#[test]
fn the_table_is_bounded_and_forgets_only_who_is_quiet() {
    let (sampler, begun) = (RefusalSampler::new(&limits()), Instant::now());
    for last in 1..=3 {
        assert_eq!(recorded(&sampler, address(last), 1, begun), 1);
    }
    let strangers: usize = (10..200).map(|last| recorded(&sampler, address(last), 1, begun)).sum();
    assert_eq!(strangers, 4, "whoever has no place shares one rate");
    assert_eq!(sampler.state().sources.of.len(), 3);
    let later = begun + Duration::from_secs(2);
    assert_eq!(recorded(&sampler, address(201), 5, later), 4, "the others have been quiet");
    assert_eq!(sampler.state().sources.of.len(), 1);
}

#[test]
fn hosts_of_one_ipv6_network_are_one_source() {
    let (sampler, now) = (RefusalSampler::new(&limits()), Instant::now());
    let ours = (0..100u16).map(|host| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]));
    assert_eq!(ours.map(|address| recorded(&sampler, address, 1, now)).sum::<usize>(), 4);
    assert_eq!(recorded(&sampler, IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]), 1, now), 1);
    assert_eq!(network("::ffff:192.0.2.1".parse().expect("an address")), address(1));
}

#[test]
fn what_is_not_recorded_is_counted_and_told_once() {
    let (sampler, now) = (RefusalSampler::new(&limits()), Instant::now());
    let second = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
    let at = |n| Moment { wall: second(n), monotonic: now };
    let who = Refused::Unproven(address(1));
    recorded(&sampler, address(1), 4, now);
    assert!(sampler.take().is_none());
    assert!(!sampler.has_record(who, CODE, at(5)) && !sampler.has_record(who, CODE, at(7)));
    let taken = sampler.take().expect("two");
    let missed = taken.missed.as_ref().expect("two");
    assert_eq!((missed.from, missed.to), (second(5), second(7)));
    // The ledger does not take it, and meanwhile there is more.
    assert!(!sampler.has_record(who, Code::TokenExpired, at(9)));
    drop(taken);
    let mut taken = sampler.take().expect("three");
    let missed = taken.missed.take().expect("three");
    let text = serde_json::to_string(&missed.record("an-id", None)).expect("a record");
    let message = "3 refusals of callers that proved nobody were not recorded one by one, \
        from 1970-01-01T00:00:05.000000Z to 1970-01-01T00:00:09.000000Z: credential_missing 2, token_expired 1";
    assert!(text.contains(message) && text.contains("\"code\":\"refusals_not_recorded\""), "{text}");
    drop(taken);
    assert!(sampler.take().is_none());
}

#[test]
fn who_is_known_is_counted_by_name_and_takes_nothing_from_others() {
    let (sampler, now) = (RefusalSampler::new(&limits()), Instant::now());
    let [a, b] = ["n/a", "n/b"].map(|name| EntityId::new(vidimus_core::entity::EntityKind::Agent, name));
    assert_eq!(of(&sampler, Refused::Principal(&a), 1_000_000, now), 4);
    assert_eq!(of(&sampler, Refused::Principal(&b), 3, now), 3, "another one is recorded");
    assert_eq!(recorded(&sampler, address(1), 3, now), 3, "and so is who is not known");
    assert_eq!(of(&sampler, Refused::Principal(&a), 100, now + Duration::from_secs(2)), 2);
    assert_eq!(recorded(&sampler, address(1), 4, now), 1);
    let mut told = Vec::new();
    while let Some(mut taken) = sampler.take() {
        let missed = taken.missed.take().expect("a count");
        let text =
            serde_json::to_string(&missed.record("an-id", taken.principal.as_ref())).expect("a record");
        told.push((taken.principal.as_ref().map(ToString::to_string), missed.codes[CODE.as_str()], text));
    }
    let of: Vec<_> = told.iter().map(|(who, count, _)| (who.as_deref(), *count)).collect();
    assert_eq!(of, [(None, 3), (Some("Agent/n/a"), 999_996 + 98)], "nothing is lost from the count");
    assert!(told[1].2.contains(r#""principal":"Agent/n/a""#), "{}", told[1].2);
}

#[test]
fn the_last_of_the_disk_is_for_what_is_allowed() {
    let (sampler, now) = (RefusalSampler::new(&limits()), Instant::now());
    sampler.spare_disk(true);
    assert_eq!(recorded(&sampler, address(1), 3, now), 0);
    sampler.spare_disk(false);
    assert_eq!(recorded(&sampler, address(1), 3, now), 3);
}
