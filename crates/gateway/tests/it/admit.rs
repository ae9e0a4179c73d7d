//! The first half alone, as another front door uses it: decided and recorded, and nothing is sent.

use http_body_util::Full;
use vidimus_gateway::{Admission, Peer, RequestContext, admit};

use super::world::World;

#[tokio::test]
async fn another_front_door_gets_a_recorded_verdict_and_nothing_is_sent() {
    let world = World::new().await;
    let peer = Peer { address: ([192, 0, 2, 7], 4711).into(), svid: None };
    for (tool, permitted) in [("echo", true), ("other", false)] {
        let before = world.gate.ledger.size();
        let (parts, body) = world.tool(tool).into_parts();
        let mut context = RequestContext::begin(&world.gate, &parts, &peer);
        let admission = admit::<Full<_>>(&world.gate, &mut context, &parts, body).await;
        match (admission, permitted) {
            (Ok(Admission::Permitted(_)), true) => {}
            (Err(refusal), false) => assert_eq!(refusal.code.as_str(), "no_permit"),
            (other, _) => panic!("{tool}: {other:?}"),
        }
        assert_eq!(world.gate.ledger.size(), before + 1, "the decision is on record, and no effect");
    }
    assert!(world.upstream.received().is_empty());
}
