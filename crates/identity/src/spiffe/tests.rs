use super::*;

#[test]
fn only_well_formed_workload_ids_parse() {
    for good in [
        "spiffe://corp.example/ns/finance/sa/invoice-bot",
        "spiffe://a/b",
        "spiffe://a-b_c.d/Upper/x_y.z/...",
    ] {
        let id = SpiffeId::parse(good).expect(good);
        assert_eq!(id.as_str(), good);
    }
    for bad in [
        "",
        "spiffe://",
        "spiffe:///x",
        "spiffe://corp.example",
        "spiffe://corp.example/",
        "spiffe://corp.example/x/",
        "spiffe://corp.example//x",
        "spiffe://corp.example/./x",
        "spiffe://corp.example/../x",
        "spiffe://Corp.example/x",
        "spiffe://corp.example:8443/x",
        "spiffe://user@corp.example/x",
        "spiffe://corp.example/x?y",
        "spiffe://corp.example/x#y",
        "spiffe://corp.example/%41",
        "spiffe://corp.example/ä",
        "SPIFFE://corp.example/x",
        "https://corp.example/x",
    ] {
        assert!(SpiffeId::parse(bad).is_err(), "{bad}");
    }
    let long = format!("spiffe://a/{}", "x".repeat(MAX_ID));
    assert!(matches!(SpiffeId::parse(&long), Err(SpiffeIdError::TooLong { .. })));
}

#[test]
fn arbitrary_bytes_are_not_a_certificate() {
    let junk = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]);
    assert_eq!(PeerSvid::from_certificates(Some(&[junk])).unwrap_err(), SvidError::NotX509);
    assert!(PeerSvid::from_certificates(None).unwrap().is_none());
    assert!(PeerSvid::from_certificates(Some(&[])).unwrap().is_none());
}
