//! Sealed ids: none that was not sealed here opens, and what was sealed is what opens.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::fuzzing::Part;
use vidimus_gateway::fuzzing::seal::{Kind, MAX_SEALED, Opened};
use vidimus_gateway::{KEY_LENGTH, Seal};

static SEAL: LazyLock<Seal> = LazyLock::new(|| Seal::new(&[7; KEY_LENGTH]).expect("a key"));

fuzz_target!(|input: (&str, &str, &str, u16, u8)| {
    let (id, binding, name, at, flip) = input;
    let open = |kind, binding: &str, sealed: &str| SEAL.open(kind, binding, sealed);
    assert_eq!(open(Kind::Task, binding, id), None);
    let part = Part::Tool(name.into());
    let Ok(sealed) = SEAL.seal(Kind::Task, binding, &part, id) else { return };
    assert_eq!(SEAL.seal(Kind::Task, binding, &part, id).as_deref(), Ok(&*sealed));
    let fits = sealed.len() <= MAX_SEALED;
    let opened = Opened { part, id: id.to_owned() };
    assert_eq!(open(Kind::Task, binding, &sealed), fits.then_some(opened));
    assert_eq!(open(Kind::Task, &format!("{binding}|"), &sealed), None);
    assert_eq!(open(Kind::Event, binding, &sealed), None);
    let mut bytes = sealed.into_bytes();
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= flip & 0x7f;
    if let (Ok(changed), true) = (String::from_utf8(bytes), flip & 0x7f != 0) {
        assert_eq!(open(Kind::Task, binding, &changed), None, "a changed id opens nothing");
    }
});
