use super::*;
use proptest::prelude::*;

#[test]
fn pairs_keep_their_order_and_pads_are_skipped() {
    let pairs = parse(b"InitiatorName=iqn.x:y\0AuthMethod=CHAP,None\0Empty=\0\0\0").unwrap();
    let flat: Vec<_> = pairs.iter().map(|pair| (pair.key, pair.value)).collect();
    assert_eq!(
        flat,
        [
            ("InitiatorName", "iqn.x:y"),
            ("AuthMethod", "CHAP,None"),
            ("Empty", "")
        ]
    );
    assert_eq!(parse(b"").unwrap(), []);
}

#[test]
fn value_may_hold_an_equals_sign() {
    assert_eq!(parse(b"CHAP_C=0bAAA=\0").unwrap()[0].value, "0bAAA=");
}

#[test]
fn n05_malformed_segments_are_refused_by_rule() {
    let long_key = [vec![b'k'; 64], b"=v\0".to_vec()].concat();
    let long_value = [b"K=".to_vec(), vec![b'v'; 256], vec![0]].concat();
    let long_binary = [b"CHAP_C=0x".to_vec(), vec![b'0'; 8191], vec![0]].concat();
    let cases: [(&[u8], TextError); 10] = [
        (b"novalue\0", TextError::MissingEquals),
        (b"A=1", TextError::MissingNul),
        (b"=1\0", TextError::BadKey),
        (b"a b=1\0", TextError::BadKey),
        (b"A=1\0A=2\0", TextError::DuplicateKey),
        (b"A=\xff\xfe\0", TextError::BadValue),
        (b"A=x\ny\0", TextError::BadValue),
        (&long_key, TextError::BadKey),
        (&long_value, TextError::ValueTooLong),
        (&long_binary, TextError::ValueTooLong),
    ];
    for (bytes, error) in cases {
        assert_eq!(
            parse(bytes).unwrap_err(),
            error,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    let edge = [vec![b'k'; 63], b"=".to_vec(), vec![b'v'; 255], vec![0]].concat();
    assert_eq!(parse(&edge).unwrap().len(), 1);
}

#[test]
fn n05_flood_of_equal_or_distinct_keys_is_refused() {
    assert_eq!(
        parse(&b"a=b\0".repeat(2048)).unwrap_err(),
        TextError::DuplicateKey
    );
    let distinct: String = (0..200).map(|n| format!("k{n}=v\0")).collect();
    assert_eq!(
        parse(distinct.as_bytes()).unwrap_err(),
        TextError::TooManyKeys
    );
}

#[test]
fn n06_continuation_is_bounded_and_must_carry_text() {
    let mut text = TextAccumulator::new(16);
    assert_eq!(
        text.push(b"", true).unwrap_err(),
        TextError::EmptyContinuation
    );
    assert_eq!(text.push(b"Key=val", true).unwrap(), None);
    assert!(text.is_open());
    assert_eq!(text.push(b"ue\0", false).unwrap().unwrap(), b"Key=value\0");
    assert!(!text.is_open());
    assert_eq!(text.push(&[b'a'; 16], true).unwrap(), None);
    assert_eq!(
        text.push(b"b", true).unwrap_err(),
        TextError::TooLong { limit: 16 }
    );
}

#[test]
fn n11_long_answer_is_cut_into_pieces_in_order() {
    let bytes: Vec<u8> = (0..65_536_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut answer = TextAnswer::new(bytes.clone());
    let (mut joined, mut count) = (Vec::new(), 0);
    loop {
        let piece = answer.next_piece(512);
        assert!(piece.data.len() <= 512);
        joined.extend_from_slice(piece.data);
        count += 1;
        if !piece.more {
            break;
        }
    }
    assert_eq!((joined, count), (bytes, 128));
    assert!(answer.is_done());
}

#[test]
fn writer_refuses_past_its_limit_and_keeps_what_it_has() {
    let mut text = TextWriter::new(10);
    assert_eq!(text.push("K", "a\0b"), Err(TextError::BadValue));
    text.push("Key", "v1").unwrap();
    assert_eq!(
        text.push("K", "toolong"),
        Err(TextError::TooLong { limit: 10 })
    );
    assert_eq!(text.finish(), b"Key=v1\0");
}

#[test]
fn n07_numbers_are_decimal_or_hex_and_nothing_else() {
    for (text, number) in [
        ("0", Some(0)),
        ("65536", Some(65536)),
        ("0xFf", Some(255)),
        ("0X10", Some(16)),
        ("007", Some(7)),
    ] {
        assert_eq!(parse_number(text), number, "{text}");
    }
    for text in [
        "",
        "0x",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1k",
        "0xg",
        "99999999999999999999",
        "1.5",
        "0b1",
    ] {
        assert_eq!(parse_number(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_stay_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        if let Ok(pairs) = parse(&bytes) {
            prop_assert!(pairs.len() <= MAX_PAIRS);
            for pair in pairs {
                prop_assert!(pair.key.len() <= MAX_KEY_LEN && pair.value.len() <= MAX_BINARY_VALUE_LEN);
            }
        }
    }

    #[test]
    fn what_the_writer_emits_parses_back(values in proptest::collection::vec("[ -~]{0,100}", 0..20)) {
        let mut text = TextWriter::new(8192);
        for (index, value) in values.iter().enumerate() {
            text.push(&format!("Key{index}"), value).unwrap();
        }
        let bytes = text.finish();
        let back: Vec<String> = parse(&bytes).unwrap().iter().map(|pair| pair.value.to_owned()).collect();
        prop_assert_eq!(back, values);
    }
}
