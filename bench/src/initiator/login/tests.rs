//! Rules of the login phase, and targets that break them.

use super::*;

fn answer(flags: u8, keys: &[(&str, &str)]) -> Pdu {
    let mut h = Header::new(opcode::LOGIN_RESPONSE);
    h.put_flags(flags).put_word(28, 1).put_word(32, 64);
    h.0[15] = 1;
    let keys: Vec<_> = keys
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Pdu::new(h, text(&keys))
}

fn operational(keys: &[(&str, &str)]) -> Result<Step, LoginError> {
    let options = Options {
        skip_security: true,
        ..Options::default()
    };
    let mut login = Login::new(&options, Some("iqn.x"));
    login.start();
    login.reply(&answer(T | OPERATIONAL << 2 | FULL_FEATURE, keys))
}

#[test]
fn silence_about_a_key_means_its_default() {
    let Ok(Step::Done(n, sequence)) = operational(&[]) else {
        panic!("login did not end")
    };
    assert_eq!(
        (n.max_burst_length, n.first_burst_length),
        (262_144, 65_536)
    );
    assert_eq!(n.target_max_recv_data_segment_length, 8192);
    assert!(n.immediate_data && n.initial_r2t && !n.header_digest);
    assert_eq!((sequence.exp_stat_sn, sequence.max_cmd_sn), (1, 64));
}

#[test]
fn n59_answers_outside_the_offer_are_refused() {
    for (key, value) in [
        ("MaxBurstLength", "2000000"),
        ("MaxBurstLength", "0"),
        ("MaxRecvDataSegmentLength", "16777216"),
        ("HeaderDigest", "CRC32C"),
        ("ImmediateData", "Maybe"),
        ("ErrorRecoveryLevel", "3"),
    ] {
        let outcome = operational(&[(key, value)]);
        assert!(
            matches!(outcome, Err(LoginError::Key { .. })),
            "{key}={value}: {outcome:?}"
        );
    }
}

#[test]
fn n59_a_login_that_never_ends_is_ended() {
    let mut login = Login::new(&Options::default(), Some("iqn.x"));
    login.start();
    let endless = answer(C, &[("X", "y")]);
    assert!((0..100).any(|_| login.reply(&endless).is_err()));
}

#[test]
fn chap_is_not_skipped_by_a_target_that_hurries_on() {
    let options = Options {
        chap: Some(Chap::new("u", "s")),
        ..Options::default()
    };
    let mut login = Login::new(&options, Some("iqn.x"));
    login.start();
    let hurry = answer(T | OPERATIONAL, &[("AuthMethod", "None")]);
    assert!(matches!(login.reply(&hurry), Err(LoginError::Rule(_))));
}

#[test]
fn n59_mutated_answers_never_panic() {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let good = answer(
        0,
        &[
            ("AuthMethod", "CHAP"),
            ("CHAP_A", "5"),
            ("CHAP_I", "9"),
            ("CHAP_C", "0x0102"),
        ],
    );
    for _ in 0..20_000 {
        let mut chap = Chap::new("u", "s");
        chap.mutual = Some(chap.own.clone());
        let options = Options {
            chap: Some(chap),
            ..Options::default()
        };
        let mut login = Login::new(&options, Some("iqn.x"));
        login.start();
        for _ in 0..6 {
            let mut pdu = good.clone();
            for _ in 0..random() % 4 {
                let at = random() as usize;
                if at.is_multiple_of(2) {
                    let len = pdu.data.len();
                    pdu.data[at / 2 % len] = random() as u8;
                } else {
                    pdu.header.0[[1, 14, 15, 24, 36][at / 2 % 5]] = random() as u8;
                }
            }
            if login.reply(&pdu).is_err() {
                break;
            }
        }
    }
}
