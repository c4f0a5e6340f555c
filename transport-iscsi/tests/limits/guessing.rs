//! Who guesses at secrets, and does not wait for the answers that are held back.

use std::sync::Arc;
use std::time::Duration;

use lunforge_iscsi::io::Limits;
use lunforge_iscsi::proto::chap::{
    BinaryForm, ChapAlgorithm, MAX_DIGEST_LEN, decode_binary, encode_binary,
};
use lunforge_iscsi::{AuthConfig, ChapAccount, ChapConfig};

use super::bed::{Bed, Login, Peer, Recipe};

pub(crate) const SECRETS: [(&str, &str); 2] = [
    ("own", "a-long-enough-secret"),
    ("other", "another-long-secret-it-is"),
];

pub(crate) fn guarded(failures_refused: u32) -> Bed {
    let accounts = SECRETS.map(|(user, secret)| ChapAccount::new(user, secret).unwrap());
    let chap = ChapConfig::new(accounts.to_vec(), None).unwrap();
    let limits = Limits {
        failures_refused,
        ..Limits::default()
    };
    Recipe {
        auth: AuthConfig::Chap(Arc::new(chap)),
        ..Recipe::with(limits)
    }
    .serve()
}

/// A login that has its challenge.
pub(crate) struct Challenged {
    peer: Peer,
    from: u8,
    identifier: u8,
    challenge: Vec<u8>,
}

fn step(from: u8, keys: String) -> Vec<u8> {
    let login = Login {
        stages: (0, 1),
        keys,
        ..Login::of(from)
    };
    login.emit()
}

pub(crate) fn challenged(bed: &mut Bed, from: u8) -> Challenged {
    let mut peer = bed.connect(from);
    peer.send(&step(from, Login::security("AuthMethod=CHAP\0").keys));
    peer.send(&step(from, "CHAP_A=7\0".to_owned()));
    bed.settle();
    let (_, data) = peer.pdus().pop().expect("a challenge");
    let text = String::from_utf8(data).unwrap();
    let key = |name: &str| text.split('\0').find_map(|pair| pair.strip_prefix(name));
    let identifier = key("CHAP_I=").unwrap().parse().unwrap();
    let (challenge, _) = decode_binary(key("CHAP_C=").unwrap(), 1024).unwrap();
    Challenged {
        peer,
        from,
        identifier,
        challenge,
    }
}

impl Challenged {
    /// Sends the answer; what comes of it is still to be read.
    fn respond(&mut self, bed: &mut Bed, (user, secret): (&str, &str)) {
        let (mut digest, sha) = ([0; MAX_DIGEST_LEN], ChapAlgorithm::Sha256);
        let secret = secret.as_bytes();
        let response = sha.response(self.identifier, secret, &self.challenge, &mut digest);
        let response = encode_binary(response, BinaryForm::Hex);
        let keys = format!("CHAP_N={user}\0CHAP_R={response}\0");
        self.peer.send(&step(self.from, keys));
        bed.settle();
    }

    /// Answers right; the login goes on.
    pub(crate) fn prove(mut self, bed: &mut Bed, account: (&str, &str)) -> Peer {
        self.respond(bed, account);
        let answer = self.peer.login_response().expect("a login response");
        assert_eq!((answer.status_class, answer.next_stage), (0, 1));
        self.peer
    }

    /// Answers and hangs up at once; whether the answer was taken by then.
    fn answer(mut self, bed: &mut Bed, account: (&str, &str)) -> bool {
        self.respond(bed, account);
        let class = |peer: &mut Peer| peer.login_response().map(|r| r.status_class);
        let taken = class(&mut self.peer) == Some(0);
        if taken {
            self.peer.send(&Login::of(self.from).emit());
            bed.settle();
            assert_eq!(class(&mut self.peer), Some(0));
        }
        self.peer.hang_up();
        bed.settle();
        taken
    }
}

fn guess(bed: &mut Bed, from: u8, account: (&str, &str)) -> bool {
    challenged(bed, from).answer(bed, account)
}

#[test]
fn n16_one_account_is_not_enough_to_guess_at_others_without_end() {
    let mut bed = guarded(8);
    let [own, other] = SECRETS;
    assert!(guess(&mut bed, 1, own));
    // Hanging up at once saves all the waiting.
    for _ in 0..8 {
        assert!(!guess(&mut bed, 1, (other.0, "not-this-one-anyway")));
    }
    // From now on the right answer is no news to a guesser, and whoever was there before still comes in.
    assert!(!guess(&mut bed, 1, other));
    assert!(guess(&mut bed, 1, own));
    // The other comes in from elsewhere, and after a while from here.
    assert!(guess(&mut bed, 2, other));
    bed.pass(Duration::from_secs(61));
    assert!(guess(&mut bed, 1, other));
}

#[test]
fn n16_challenges_taken_beforehand_are_no_way_around_the_refusal() {
    let mut bed = guarded(2);
    let [own, other] = SECRETS;
    let mut ready: Vec<_> = (0..4).map(|_| challenged(&mut bed, 1)).collect();
    for _ in 0..2 {
        let wrong = (other.0, "not-this-one-anyway");
        assert!(!ready.pop().unwrap().answer(&mut bed, wrong));
    }
    assert!(!ready.pop().unwrap().answer(&mut bed, other));
    assert!(!ready.pop().unwrap().answer(&mut bed, own));
}
