use bytes::Bytes;
use prost::Message as _;

use super::super::proto::Entry;
use super::*;

const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";

fn item(name: &str, version: &str) -> Item {
    Item { name: name.into(), version: version.into(), value: Bytes::copy_from_slice(version.as_bytes()) }
}

fn wanted(rest: &[(&str, &str)]) -> Compiled {
    let rest = rest.iter().map(|(name, version)| item(name, version)).collect();
    Compiled { guards: vec![item("policy/ask", "1"), item("policy/deny", "1")], rest, left_out: Vec::new() }
}

fn first(url: &str, has: &[(&str, &str)]) -> DeltaDiscoveryRequest {
    let entry = |(key, value): &(&str, &str)| {
        let entry = Entry { key: (*key).to_owned(), value: (*value).to_owned() };
        Bytes::from(entry.encode_to_vec())
    };
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        initial_resource_versions: has.iter().map(entry).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    let error = Status { code: 0, message: message.to_owned() };
    DeltaDiscoveryRequest { error_detail: Some(error), ..ack(response) }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn taken(state: &mut Subscriptions, request: &DeltaDiscoveryRequest) -> Option<Answered> {
    state.take(request).expect("a message that is taken")
}

/// A stream that says what it has, whose guards are taken.
fn guarded(has: &[(&str, &str)], wanted: &Compiled) -> Subscriptions {
    let mut state = Subscriptions::default();
    assert_eq!(taken(&mut state, &first(RESOURCE, has)), None);
    let guards = state.next(wanted).expect("the guards");
    assert_eq!(names(&guards), ["policy/ask", "policy/deny"]);
    assert!(state.is_waiting());
    assert_eq!(state.next(wanted), None, "nothing is sent before they are taken");
    taken(&mut state, &ack(&guards));
    state
}

#[test]
fn a_data_plane_gets_its_guards_then_all_else_then_the_empty_type() {
    let all = wanted(&[("backend/a", "1"), ("route/a", "1"), ("bind/8080", "1")]);
    let mut state = Subscriptions::default();
    // In whatever order it asks.
    taken(&mut state, &first(ADDRESS, &[("old", "1")]));
    assert_eq!(state.next(&all), None);
    taken(&mut state, &first(RESOURCE, &[]));
    let guards = state.next(&all).expect("the guards");
    assert_eq!((names(&guards), guards.type_url.as_str()), (vec!["policy/ask", "policy/deny"], RESOURCE));
    taken(&mut state, &ack(&guards));
    let rest = state.next(&all).expect("the rest");
    assert_eq!(names(&rest), ["backend/a", "route/a", "bind/8080"]);
    assert_eq!(state.next(&all), None, "one is on its way at a time, of whatever type");
    assert_eq!(taken(&mut state, &ack(&rest)).map(|it| it.resources.len()), Some(3));
    let empty = state.next(&all).expect("the empty type");
    assert_eq!((empty.type_url.as_str(), names(&empty)), (ADDRESS, vec![]));
    assert_eq!(empty.removed_resources, ["old"], "what it has of it is taken away");
    taken(&mut state, &ack(&empty));
    assert_eq!(state.next(&all), None);
    assert!(!state.is_waiting());
    let nonces: BTreeSet<_> = [&guards, &rest, &empty].iter().map(|it| it.nonce.clone()).collect();
    assert_eq!(nonces.len(), 3);
}

#[test]
fn only_differences_are_sent() {
    let mut all = wanted(&[("backend/a", "1"), ("route/a", "1")]);
    let mut state = guarded(&[], &all);
    let rest = state.next(&all).expect("the rest");
    taken(&mut state, &ack(&rest));
    assert_eq!(state.next(&all), None);
    all = wanted(&[("backend/a", "2"), ("route/b", "1")]);
    let change = state.next(&all).expect("a change");
    assert_eq!(
        (names(&change), change.removed_resources.as_slice()),
        (vec!["backend/a", "route/b"], &["route/a".to_owned()][..])
    );
    // What came meanwhile goes with the next.
    all = wanted(&[("backend/a", "3"), ("route/b", "1")]);
    assert_eq!(state.next(&all), None);
    taken(&mut state, &ack(&change));
    assert_eq!(names(&state.next(&all).expect("the newest alone")), ["backend/a"]);
}

#[test]
fn who_comes_again_gets_what_changed_and_what_is_gone() {
    let all = wanted(&[("backend/a", "1"), ("route/a", "2")]);
    let has =
        [("backend/a", "1"), ("route/a", "1"), ("route/gone", "1"), ("policy/ask", "1"), ("policy/old", "1")];
    let mut state = guarded(&has, &all);
    let change = state.next(&all).expect("a change");
    assert_eq!(names(&change), ["route/a"]);
    assert_eq!(change.removed_resources, ["policy/old", "route/gone"]);
    taken(&mut state, &ack(&change));
    assert_eq!(state.next(&all), None);
}

/// Attack: a version of agentgateway that does not take the policy which asks, and would let everything pass.
#[test]
fn without_its_guards_a_data_plane_has_nothing() {
    let all = wanted(&[("route/a", "1"), ("bind/8080", "1")]);
    for message in [
        "[{\"key\":\"policy/ask\",\"error\":\"no such field\"}]",
        "[{\"key\":\"policy/deny\",\"warn\":\"CEL\"}]",
        "odd",
    ] {
        let mut state = Subscriptions::default();
        taken(&mut state, &first(RESOURCE, &[("route/a", "1"), ("bind/8080", "1"), ("policy/ask", "1")]));
        taken(&mut state, &first(ADDRESS, &[]));
        let guards = state.next(&all).expect("the guards");
        assert_eq!(guards.removed_resources, Vec::<String>::new());
        let answered = taken(&mut state, &nack(&guards, message)).expect("an answer");
        assert!(answered.unguarded);
        let gone = state.next(&all).expect("what it had is taken away");
        assert_eq!(names(&gone), Vec::<&str>::new());
        assert_eq!(gone.removed_resources, ["bind/8080", "route/a"]);
        taken(&mut state, &ack(&gone));
        assert_eq!(state.next(&all), None, "and it is not ready either");
    }
}

#[test]
fn what_is_refused_is_known_by_resource_and_not_sent_again_until_it_changes() {
    let mut all = wanted(&[("backend/a", "1"), ("route/a", "1"), ("route/b", "1")]);
    let mut state = guarded(&[], &all);
    let rest = state.next(&all).expect("the rest");
    let message = r#"[{"key":"route/a","error":"bad"},{"key":"route/b","warn":"odd"},{"key":"route/x","error":"x"},{"key":"backend/a"}]"#;
    let answered = taken(&mut state, &nack(&rest, message)).expect("an answer");
    let said: Vec<_> =
        answered.complaints.iter().map(|it| (&*it.resource, it.is_error, it.message.as_str())).collect();
    assert_eq!(
        said,
        [("route/a", true, "bad"), ("route/b", false, "odd"), ("*", true, "x"), ("backend/a", true, "")]
    );
    assert!(!answered.unguarded);
    assert_eq!(state.next(&all), None);
    all = wanted(&[("backend/a", "1"), ("route/a", "2"), ("route/b", "1")]);
    let again = state.next(&all).expect("what changed");
    assert_eq!(names(&again), ["route/a"]);
    assert_eq!(taken(&mut state, &ack(&again)).map(|it| it.complaints), Some(vec![]));
}

/// Attack: an answer to nothing, to something else, or an error of megabytes.
#[test]
fn an_answer_counts_once_and_an_error_is_cut() {
    let all = wanted(&[("route/a", "1")]);
    let mut state = guarded(&[], &all);
    let rest = state.next(&all).expect("the rest");
    for nonce in ["", "99", "1"] {
        let other = DeltaDiscoveryRequest { response_nonce: nonce.to_owned(), ..ack(&rest) };
        assert_eq!(taken(&mut state, &other), None, "{nonce:?}");
        assert!(state.is_waiting());
    }
    let long = "ä".repeat(MOST_ERROR);
    let answered = taken(&mut state, &nack(&rest, &long)).expect("an answer");
    assert_eq!(answered.complaints.len(), 1);
    assert!(
        answered
            .complaints
            .iter()
            .all(|it| it.is_error && it.message.len() <= LONGEST && &*it.resource == "*")
    );
    assert_eq!(taken(&mut state, &ack(&rest)), None, "it was answered");
    let many = format!("[{}{{\"key\":\"a\"}}]", "{\"key\":\"route/a\",\"warn\":\"w\"},".repeat(5_000));
    let all = wanted(&[("route/a", "2")]);
    let change = state.next(&all).expect("a change");
    assert_eq!(taken(&mut state, &nack(&change, &many)).map(|it| it.complaints.len()), Some(MOST_COMPLAINTS));
}

#[test]
fn much_is_sent_in_parts_each_after_the_other_is_taken() {
    let large = "x".repeat(BATCH / 2 + 1);
    let large = large.as_str();
    let all = wanted(&[("a", large), ("b", large), ("c", "1"), ("d", large)]);
    let mut state = guarded(&[("old", "1")], &all);
    let mut parts = Vec::new();
    while let Some(part) = state.next(&all) {
        parts.push((names(&part).join(","), part.removed_resources.len()));
        assert_eq!(state.next(&all), None);
        taken(&mut state, &ack(&part));
    }
    assert_eq!(
        parts,
        [("a".to_owned(), 1), ("b,c".to_owned(), 0), ("d".to_owned(), 0)],
        "what is gone is first"
    );
}

#[test]
fn what_is_no_wildcard_and_more_types_than_there_are_is_refused() {
    let mut state = Subscriptions::default();
    let named = |names: &[&str]| DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..first(RESOURCE, &[])
    };
    assert_eq!(state.take(&named(&["route/a"])).map_err(|refusal| refusal.code), Err(Code::MessageInvalid));
    assert_eq!(state.take(&named(&["*"])).map_err(|refusal| refusal.code), Ok(None));
    let broken = DeltaDiscoveryRequest {
        initial_resource_versions: vec![Bytes::from_static(b"\x0a")],
        ..first("other", &[])
    };
    assert!(state.take(&broken).is_err());
    let refused = (0..MOST_TYPES).find(|number| state.take(&first(&number.to_string(), &[])).is_err());
    assert_eq!(refused, Some(MOST_TYPES - 1));
    assert_eq!(state.resources(), 0);
}
