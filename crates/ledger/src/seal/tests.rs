use super::*;

fn key(secret: &[u8]) -> Arc<SealKey> {
    Arc::new(SealKey::derive(secret).expect("a key"))
}

const TIMES: Span = Span { first: 0x0102_0304, last: 0x1112_1314 };

/// Some bytes, and the seal behind them.
fn sealed(chain: &mut Chain, bytes: &[u8], sequence: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    chain.seal(&mut bytes, sequence, sequence / 2, TIMES).expect("sealed");
    bytes
}

#[test]
fn the_layout_on_disk_is_as_documented() {
    let mut chain = Chain::new(key(b"secret"), [7; 16], 0);
    let bytes = sealed(&mut chain, b"frames", 0x0102_0304_0506_0708);
    let seal = &bytes[6..];
    assert_eq!((seal.len(), &seal[..4]), (SEAL, b"SEAL".as_slice()));
    assert_eq!(seal[4..8], crc32c::crc32c(&seal[8..]).to_le_bytes());
    assert_eq!(seal[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(seal[16..24], (0x0102_0304_0506_0708_u64 / 2).to_le_bytes());
    assert_eq!(seal[24..32], [4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11]);
    // The tag by another way: RFC 8452 over an empty text.
    let secret = Salt::new(HKDF_SHA256, &[]).extract(b"secret");
    let key = secret.expand(&[b"vidimus ledger seal v1"], &AES_256_GCM_SIV).expect("a key");
    let key = LessSafeKey::new(UnboundKey::from(key));
    let nonce = Nonce::assume_unique_for_key([8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0]);
    let covered = [b"frames".as_slice(), b"SEAL", &[0; 4], &seal[8..32], &[7; 16]].concat();
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(covered), &mut []).expect("a tag");
    assert_eq!(seal[32..], *tag.as_ref());
}

#[test]
fn a_seal_is_for_these_bytes_behind_that_seal_by_this_key() {
    let secret = key(b"secret");
    let mut chain = Chain::new(secret.clone(), [7; 16], 0);
    let one = Seal::parse(&sealed(&mut chain, b"frames", 3)[6..], 3).expect("whole");
    let two = Seal::parse(&sealed(&mut chain, b"", 3), 3).expect("whole");
    assert_eq!((chain.said(), Chain::new(secret.clone(), [7; 16], 4).said()), (1, 4));
    assert!(one.made_with(&secret, [7; 16], &mut b"frames".to_vec()));
    assert!(two.made_with(&secret, one.tag, &mut Vec::new()));
    for (what, right) in [
        ("key", one.made_with(&key(b"another"), [7; 16], &mut b"frames".to_vec())),
        ("place", one.made_with(&secret, [8; 16], &mut b"frames".to_vec())),
        ("bytes", one.made_with(&secret, [7; 16], &mut b"Frames".to_vec())),
        ("sequence", Seal { sequence: 4, ..one }.made_with(&secret, [7; 16], &mut b"frames".to_vec())),
        ("signed", Seal { signed: 0, ..one }.made_with(&secret, [7; 16], &mut b"frames".to_vec())),
        (
            "times",
            Seal { times: Span::default(), ..one }.made_with(&secret, [7; 16], &mut b"frames".to_vec()),
        ),
        ("tag", Seal { tag: [0; 16], ..one }.made_with(&secret, [7; 16], &mut b"frames".to_vec())),
        ("the seal before", two.made_with(&secret, [7; 16], &mut Vec::new())),
    ] {
        assert!(!right, "another {what}");
    }
}

#[test]
fn what_is_not_the_expected_seal_is_named_and_one_byte_is_found() {
    let good = sealed(&mut Chain::new(key(b"secret"), [0; 16], 0), b"", 6);
    assert!(Seal::parse(&good, 6).is_ok());
    assert_eq!(Seal::parse(&good, 7), Err(Broken::Sequence { expected: 7, found: 6 }));
    assert_eq!(Seal::parse(&good[..47], 6), Err(Broken::Incomplete { have: 47, need: 48 }));
    let boasting = Seal { sequence: 6, signed: 7, times: TIMES, tag: [0; 16] }.bytes();
    assert_eq!(Seal::parse(&boasting, 6), Err(Broken::Signed { found: 7 }));
    let all_signed = Seal { sequence: 6, signed: 6, times: TIMES, tag: [0; 16] };
    assert_eq!(Seal::parse(&all_signed.bytes(), 6), Ok(all_signed));
    assert_eq!(whole_but_for_one_byte(&good, 6), None, "nothing is wrong");
    for at in 0..SEAL {
        for byte in [0, good[at] ^ 1, 0xff] {
            let mut altered = good.clone();
            altered[at] = byte;
            let expected = (byte != good[at]).then_some((at, good[at]));
            assert_eq!(whole_but_for_one_byte(&altered, 6), expected);
            assert_eq!(Seal::parse(&altered, 6).is_err(), expected.is_some());
        }
    }
    let mut two = good.clone();
    (two[10], two[40]) = (two[10] ^ 1, two[40] ^ 1);
    assert_eq!(whole_but_for_one_byte(&two, 6), None);
    assert_eq!(whole_but_for_one_byte(&good[..40], 6), None);
}
