//! Many connections that hold on to something.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use crate::probe::{Crowd, Door};
use crate::stage::Stage;
use crate::wire;

/// Opens them; they are there until what is given back is dropped.
///
/// # Errors
/// When what they send cannot be made.
pub fn gather(stage: &mut Stage, crowd: &Crowd) -> anyhow::Result<Vec<TcpStream>> {
    let bytes = stage.bytes(&crowd.sends)?;
    let address = match crowd.door {
        Door::Listen => stage.gateway.listen,
        Door::Admin => stage.gateway.admin,
    };
    let mut held = Vec::new();
    for _ in 0..crowd.count {
        // One that is turned away holds nothing.
        let Ok(mut stream) = wire::connect(address) else { continue };
        stream.set_write_timeout(Some(Duration::from_millis(100)))?;
        let _ = stream.write_all(&bytes);
        held.push(stream);
    }
    // Until the gateway has read them, and what of them is for the upstream has arrived there: nothing tells from outside when it has.
    let mut arrived = usize::MAX;
    while arrived != stage.upstream.count() {
        arrived = stage.upstream.count();
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(held)
}
