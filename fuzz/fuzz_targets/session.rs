//! Sealed session ids: none that was not sealed here opens.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vidimus_gateway::{KEY_LENGTH, SessionSeal};

static SEAL: LazyLock<SessionSeal> = LazyLock::new(|| SessionSeal::new(&[7; KEY_LENGTH]).expect("a key"));

fuzz_target!(|input: (&str, &str, u16, u8)| {
    let (id, binding, at, flip) = input;
    assert_eq!(SEAL.open(id, binding), None);
    let sealed = SEAL.seal(id, binding).expect("sealed");
    assert_eq!(SEAL.open(&sealed, binding).as_deref(), Some(id));
    assert_eq!(SEAL.open(&sealed, &format!("{binding}|")), None);
    let mut bytes = sealed.into_bytes();
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= flip & 0x7f;
    if let (Ok(changed), true) = (String::from_utf8(bytes), flip & 0x7f != 0) {
        assert_eq!(SEAL.open(&changed, binding), None, "a changed id opens nothing");
    }
});
