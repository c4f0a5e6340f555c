use super::*;
use std::collections::HashSet;

/// A counter: distinct, predictable bytes for tests.
pub(crate) struct Counting(pub(crate) u64);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for chunk in bytes.chunks_mut(8) {
            self.0 += 1;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A source that has failed.
pub(crate) struct Broken;

impl Random for Broken {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError)
    }
}

/// A source that reports success without writing.
struct Silent;

impl Random for Silent {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), RandomError> {
        Ok(())
    }
}

pub(crate) const SECRET: &str = "sixteen byte key";
const OTHER: &str = "another long key";

pub(crate) fn config(mutual: bool) -> ChapConfig {
    let incoming = vec![ChapAccount::new("alice", SECRET).unwrap()];
    ChapConfig::new(
        incoming,
        mutual.then(|| ChapAccount::new("target", OTHER).unwrap()),
    )
    .unwrap()
}

pub(crate) fn response(
    algorithm: ChapAlgorithm,
    identifier: u8,
    secret: &str,
    challenge: &[u8],
) -> Vec<u8> {
    let mut out = [0; MAX_DIGEST_LEN];
    algorithm
        .response(identifier, secret.as_bytes(), challenge, &mut out)
        .to_vec()
}

fn one_way<'a>(user: &'a str, response: &'a str) -> ChapAnswer<'a> {
    ChapAnswer {
        user,
        response,
        identifier: None,
        challenge: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    encode_binary(bytes, BinaryForm::Hex)
}

#[test]
fn n14_responses_match_independent_vectors() {
    // Computed with another implementation: H(0x2a || "sixteen byte key" || 10 11 .. 1f).
    let challenge: Vec<u8> = (0x10..0x20).collect();
    let vectors = [
        (ChapAlgorithm::Md5, "0xaeb87644a2fc7361ae326c4d386d0977"),
        (
            ChapAlgorithm::Sha1,
            "0x620b710016afa2765b6938ab0f172ab8947b44a4",
        ),
        (
            ChapAlgorithm::Sha256,
            "0x8479b6c8f9ece848ff6caf14c69442a49ba026782c9848855dd18d18f632959c",
        ),
        (
            ChapAlgorithm::Sha3_256,
            "0x206a26437d89c53249200cb8d102cc0109a600ad2d0354212742c7f74b8fd153",
        ),
    ];
    for (algorithm, digest) in vectors {
        assert_eq!(
            hex(&response(algorithm, 0x2a, SECRET, &challenge)),
            digest,
            "{algorithm:?}"
        );
        assert_eq!(ChapAlgorithm::from_text(algorithm.text()), Some(algorithm));
    }
}

#[test]
fn n14_right_secret_accepted_and_wrong_answers_refused_for_each_algorithm() {
    let config = config(false);
    let mut random = Counting(7);
    for algorithm in ChapAlgorithm::ALL {
        let mut attempt = |make: &dyn Fn(&Challenge) -> (String, String)| {
            let challenge = Challenge::issue(algorithm, &mut random).unwrap();
            let (user, answer) = make(&challenge);
            challenge
                .verify(&config, &one_way(&user, &answer))
                .map(|verified| verified.user)
        };
        let right = |challenge: &Challenge| {
            response(algorithm, challenge.identifier(), SECRET, challenge.bytes())
        };
        assert_eq!(
            attempt(&|c| ("alice".into(), hex(&right(c)))),
            Ok("alice".into())
        );
        for bit in 0..8 {
            let flipped = attempt(&|c| {
                let mut digest = right(c);
                let last = digest.len() - 1;
                digest[last] ^= 1 << bit;
                ("alice".into(), hex(&digest))
            });
            assert_eq!(flipped, Err(ChapError::WrongResponse));
        }
        assert_eq!(
            attempt(&|_| ("alice".into(), "0x".into())),
            Err(ChapError::WrongResponse)
        );
        assert_eq!(
            attempt(&|c| ("alice".into(), hex(&right(c)[1..]))),
            Err(ChapError::WrongResponse)
        );
        assert_eq!(
            attempt(&|c| ("bob".into(), hex(&right(c)))),
            Err(ChapError::WrongResponse)
        );
        assert_eq!(
            attempt(&|c| ("".into(), hex(&right(c)))),
            Err(ChapError::WrongResponse)
        );
        let previous = Challenge::issue(algorithm, &mut Counting(1)).unwrap();
        assert_eq!(
            attempt(&|_| ("alice".into(), hex(&right(&previous)))),
            Err(ChapError::WrongResponse)
        );
    }
}

#[test]
fn decoy_accepts_nobody_not_even_with_its_filler_secret() {
    let challenge = Challenge::issue(ChapAlgorithm::Md5, &mut Counting(0)).unwrap();
    let digest = response(
        ChapAlgorithm::Md5,
        challenge.identifier(),
        "no such account",
        challenge.bytes(),
    );
    let refused = challenge.verify(&ChapConfig::decoy(), &one_way("", &hex(&digest)));
    assert_eq!(refused, Err(ChapError::WrongResponse));
}

#[test]
fn mutual_answer_uses_the_form_of_the_initiators_challenge() {
    let config = config(true);
    for form in [BinaryForm::Hex, BinaryForm::Base64] {
        let challenge = Challenge::issue(ChapAlgorithm::Sha256, &mut Counting(3)).unwrap();
        let digest = response(
            ChapAlgorithm::Sha256,
            challenge.identifier(),
            SECRET,
            challenge.bytes(),
        );
        let (digest, theirs) = (encode_binary(&digest, form), encode_binary(&[9; 24], form));
        let answer = ChapAnswer {
            user: "alice",
            response: &digest,
            identifier: Some("0x2A"),
            challenge: Some(&theirs),
        };
        let mutual = challenge.verify(&config, &answer).unwrap().mutual.unwrap();
        let expected = response(ChapAlgorithm::Sha256, 42, OTHER, &[9; 24]);
        assert_eq!(
            (mutual.user.as_str(), mutual.response),
            ("target", encode_binary(&expected, form))
        );
    }
}

fn mutual_attempt(
    config: &ChapConfig,
    identifier: Option<&str>,
    theirs: Option<&str>,
) -> Result<Verified, ChapError> {
    let challenge = Challenge::issue(ChapAlgorithm::Md5, &mut Counting(3)).unwrap();
    let digest = hex(&response(
        ChapAlgorithm::Md5,
        challenge.identifier(),
        SECRET,
        challenge.bytes(),
    ));
    challenge.verify(
        config,
        &ChapAnswer {
            user: "alice",
            response: &digest,
            identifier,
            challenge: theirs,
        },
    )
}

#[test]
fn n13_mutual_identifier_and_challenge_out_of_range_are_refused() {
    let config = config(true);
    let (longest, too_long) = (hex(&[1; 1024]), hex(&[1; 1025]));
    assert!(mutual_attempt(&config, Some("255"), Some(&longest)).is_ok());
    let cases = [
        (Some("256"), Some("0x01"), ChapError::BadIdentifier),
        (Some("-1"), Some("0x01"), ChapError::BadIdentifier),
        (Some(""), Some("0x01"), ChapError::BadIdentifier),
        (Some("1"), Some("0x"), ChapError::BadChallenge),
        (Some("1"), Some("0b"), ChapError::BadChallenge),
        (Some("1"), Some(""), ChapError::BadEncoding),
        (Some("1"), Some("abcd"), ChapError::BadEncoding),
        (Some("1"), Some(too_long.as_str()), ChapError::BadEncoding),
        (Some("1"), None, ChapError::IncompleteMutual),
        (None, Some("0x01"), ChapError::IncompleteMutual),
    ];
    for (identifier, challenge, error) in cases {
        assert_eq!(
            mutual_attempt(&config, identifier, challenge),
            Err(error),
            "{identifier:?}"
        );
    }
    assert_eq!(
        mutual_attempt(&super::tests::config(false), Some("1"), Some("0x01")),
        Err(ChapError::MutualNotConfigured)
    );
}

#[test]
fn n13_binary_values_hex_and_base64_of_all_lengths() {
    assert_eq!(decode_binary("0xAbC", 8).unwrap().0, [0x0a, 0xbc]);
    assert_eq!(decode_binary("0XabCD", 8).unwrap().0, [0xab, 0xcd]);
    assert_eq!(decode_binary("0bAQI", 8).unwrap().0, [1, 2]);
    assert_eq!(decode_binary("0BAQI=", 8).unwrap().0, [1, 2]);
    for bad in [
        "",
        "0",
        "0x0g",
        "0bA",
        "0bAQ!=",
        "0x 1",
        "1234",
        "0b====",
        "\u{e9}\u{e9}",
        "0x\u{e9}",
    ] {
        assert_eq!(decode_binary(bad, 64), None, "{bad}");
    }
    for len in 0..=4096_usize {
        let bytes = vec![0x5a; len];
        for form in [BinaryForm::Hex, BinaryForm::Base64] {
            let text = encode_binary(&bytes, form);
            assert_eq!(decode_binary(&text, 4096), Some((bytes.clone(), form)));
            assert_eq!(
                decode_binary(&text, MAX_DIGEST_LEN).is_some(),
                len <= MAX_DIGEST_LEN
            );
        }
    }
}

#[test]
fn n15_own_challenge_sent_back_is_refused() {
    let config = config(true);
    for form in [BinaryForm::Hex, BinaryForm::Base64] {
        let own = Challenge::issue(ChapAlgorithm::Md5, &mut Counting(3)).unwrap();
        let text = encode_binary(own.bytes(), form);
        assert_eq!(
            mutual_attempt(&config, Some("1"), Some(&text)),
            Err(ChapError::Reflected)
        );
    }
}

#[test]
fn n15_challenge_of_another_connection_yields_no_usable_answer() {
    // The attacker has one secret-less connection open and knows alice's on none: no mutual answer is given.
    let config = config(true);
    let first = Challenge::issue(ChapAlgorithm::Md5, &mut Counting(3)).unwrap();
    let second = Challenge::issue(ChapAlgorithm::Md5, &mut Counting(90)).unwrap();
    let stolen = hex(first.bytes());
    let answer = ChapAnswer {
        user: "alice",
        response: "0x00",
        identifier: Some("1"),
        challenge: Some(&stolen),
    };
    assert_eq!(
        second.verify(&config, &answer),
        Err(ChapError::WrongResponse)
    );
    // Even an insider's mutual answer is made with the other secret and does not open the first connection.
    let insider = response(ChapAlgorithm::Md5, first.identifier(), OTHER, first.bytes());
    assert_eq!(
        first.verify(&config, &one_way("alice", &hex(&insider))),
        Err(ChapError::WrongResponse)
    );
}

#[test]
fn n15_same_secret_both_ways_is_refused_at_configuration() {
    let account = |user| ChapAccount::new(user, SECRET).unwrap();
    let refused = ChapConfig::new(vec![account("alice")], Some(account("target")));
    assert_eq!(
        refused,
        Err(ChapConfigError::SameSecretBothWays("alice".into()))
    );
    let twice = ChapConfig::new(vec![account("alice"), account("alice")], None);
    assert_eq!(twice, Err(ChapConfigError::DuplicateUser("alice".into())));
    assert_eq!(
        ChapConfig::new(vec![], None),
        Err(ChapConfigError::NoIncomingUser)
    );
}

#[test]
fn n16_algorithm_downgrade_below_the_allowed_set_is_refused() {
    let strong = config(false)
        .with_algorithms(&[ChapAlgorithm::Sha3_256, ChapAlgorithm::Sha256])
        .unwrap();
    assert_eq!(strong.select("5"), None);
    assert_eq!(strong.select("5,6,7"), Some(ChapAlgorithm::Sha256));
    assert_eq!(strong.select("0x8,7"), Some(ChapAlgorithm::Sha3_256));
    assert_eq!(strong.select(""), None);
    assert_eq!(strong.select("MD5,-5,5555555555555555555555"), None);
    assert_eq!(config(false).select("5,7"), Some(ChapAlgorithm::Md5));
    let long_list = "1,".repeat(100) + "7";
    assert_eq!(strong.select(&long_list), None);
    assert_eq!(
        strong.with_algorithms(&[]),
        Err(ChapConfigError::BadAlgorithms)
    );
}

#[test]
fn n12_challenges_are_distinct_and_a_failing_source_gives_none() {
    let mut seen = HashSet::new();
    for _ in 0..100_000 {
        let challenge = Challenge::issue(ChapAlgorithm::Md5, &mut OsRandom).unwrap();
        assert!(seen.insert(challenge.bytes().to_vec()));
    }
    let failed = Err(ChapError::Random(RandomError));
    assert_eq!(
        Challenge::issue(ChapAlgorithm::Md5, &mut Broken).map(|_| ()),
        failed
    );
    assert_eq!(
        Challenge::issue(ChapAlgorithm::Md5, &mut Silent).map(|_| ()),
        failed
    );
}

#[test]
fn secret_length_is_enforced_and_never_printed() {
    assert_eq!(Secret::new(b"elevenbytes"), Err(SecretError::TooShort));
    assert!(Secret::new(b"twelve bytes").unwrap().is_weak());
    assert!(!Secret::new(b"sixteen byte key").unwrap().is_weak());
    assert_eq!(Secret::new(&[1; 257]), Err(SecretError::TooLong));
    let shown = format!("{:?}", config(true));
    assert!(!shown.contains(SECRET) && !shown.contains(OTHER) && shown.contains("redacted"));
    assert_eq!(ChapAccount::new("", SECRET), Err(ChapConfigError::BadUser));
}
