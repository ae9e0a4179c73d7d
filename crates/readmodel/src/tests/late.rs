//! Effects long after their decisions.

use super::*;

/// Calls that are under way at once: more than are remembered.
const CALLS: u64 = 40;

/// Decisions, and then the effects of all of them, and what else fills a file.
fn late() -> Place {
    let mut place = Place::new();
    let ledger = place.ledger.as_ref().expect("open");
    let decisions = (0..CALLS).map(|call| text(call * 4));
    let effects = (0..CALLS).map(|call| {
        let mut effect = text(call * 4 + 1);
        effect["decision"] = call.into();
        effect
    });
    for record in decisions.chain(effects) {
        let record = record.to_string();
        let record = Kept::read(record.as_bytes()).expect("a record");
        place.runtime.block_on(ledger.record(&record)).expect("kept");
    }
    place.next = CALLS * 2;
    place.append(256 - CALLS * 2);
    place
}

/// The effects of the late calls of an agent.
fn effects(model: &Model, agent: u64) -> Vec<(u64, Option<u64>)> {
    let query = Query { agent: Some(format!("Agent/a/bot-{agent}")), ..Query::default() };
    let found = model.find(&Wanted { kinds: vec!["effect"], query, after: None }, usize::MAX).expect("found");
    let found = found.into_iter().filter(|one| one.hit.index < CALLS * 2);
    found.map(|one| (one.hit.index, one.decision.map(|decision| decision.index))).collect()
}

fn expected(agent: u64) -> Vec<(u64, Option<u64>)> {
    let calls = (0..CALLS).filter(|call| call * 4 % 5 == agent);
    calls.map(|call| (CALLS + call, Some(call))).collect()
}

/// Also where its decision is in the very file that is written.
#[test]
fn an_effect_has_who_asked_however_many_calls_were_under_way() {
    let mut place = late();
    assert_eq!(place.extend().records, 256);
    let model = place.model();
    for agent in 0..5 {
        assert_eq!(effects(&model, agent), expected(agent), "{agent}");
    }
    let sums = StatsQuestion { by: By::Agent, order: Order::Usual, since: None, until: None, limit: 100 };
    let rows = model.stats(&sums).expect("answered").rows;
    let agents = rows.iter().filter(|row| row.contains_key("agent"));
    let effects: i64 = agents.filter_map(|row| row["effects"].as_i64()).sum();
    assert_eq!(effects, (40 + (256 - 80) / 4), "each effect is somebody's");
}

/// Who follows the log has only the newest records in memory.
#[test]
fn an_effect_has_a_decision_that_is_before_what_is_in_memory() {
    let mut place = late();
    place.close();
    let mut model = Model::in_memory(&place.log(), CALLS).expect("read");
    model.refresh().expect("read");
    for agent in 0..5 {
        assert_eq!(effects(&model, agent), expected(agent), "{agent}");
    }
}
