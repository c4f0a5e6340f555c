//! CHAP authentication (RFC 1994, RFC 7143 §12.1.3, RFC 3723, SHA codes of the IANA PPP authentication list).
//!
//! ```text
//!   CHAP_A (list) ──► Challenge::issue ──► CHAP_A, CHAP_I, CHAP_C
//!   CHAP_N, CHAP_R ──► Challenge::verify (consumes the challenge) ──► Verified
//!   CHAP_I, CHAP_C ──► mutual_response ──► CHAP_N, CHAP_R
//! ```
//!
//! A [`Challenge`] is used up by its one check. Digests are compared in constant time and an unknown user
//! costs the same work as a known one. Nothing here prints a secret.

mod algorithm;
mod encoding;
mod secret;

pub use algorithm::{ChapAlgorithm, MAX_DIGEST_LEN};
pub use encoding::{BinaryForm, decode_binary, encode_binary};
pub use secret::{RECOMMENDED_SECRET_LEN, Secret, SecretError};

use subtle::ConstantTimeEq;

/// Longest challenge accepted from a peer, in bytes (RFC 7143 §12.1.3).
pub const MAX_CHALLENGE_LEN: usize = 1024;

/// The entropy source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entropy source failed")]
pub struct RandomError;

/// A source of cryptographically strong random bytes.
pub trait Random {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// [`RandomError`] if strong bytes cannot be had; the login then fails.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|_| RandomError)
    }
}

/// A user name with its secret: SCST's `IncomingUser` or `OutgoingUser`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapAccount {
    /// CHAP_N, 1 to 255 bytes.
    pub user: String,
    /// The shared secret.
    pub secret: Secret,
}

impl ChapAccount {
    /// An account from its two configured words.
    ///
    /// # Errors
    /// [`ChapConfigError::BadUser`] for an empty, overlong or unprintable name, [`ChapConfigError::Secret`]
    /// for a secret out of its limits.
    pub fn new(user: &str, secret: &str) -> Result<Self, ChapConfigError> {
        if user.is_empty() || user.len() > 255 || user.chars().any(char::is_control) {
            return Err(ChapConfigError::BadUser);
        }
        Ok(Self {
            user: user.to_owned(),
            secret: Secret::new(secret.as_bytes())?,
        })
    }
}

/// Why a CHAP configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChapConfigError {
    /// User name empty, longer than 255 bytes or with control characters.
    #[error("CHAP user name must be 1 to 255 printable bytes")]
    BadUser,
    /// Secret too short or too long.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No incoming account.
    #[error("CHAP needs at least one incoming user")]
    NoIncomingUser,
    /// Two incoming accounts with one name.
    #[error("CHAP user {0:?} is configured twice")]
    DuplicateUser(String),
    /// The outgoing secret equals an incoming one: reflection would succeed (RFC 7143 §9.2.1).
    #[error("the outgoing CHAP secret must differ from the secret of incoming user {0:?}")]
    SameSecretBothWays(String),
    /// No algorithm is allowed, or one is listed twice.
    #[error("CHAP algorithm list is empty or repeats an algorithm")]
    BadAlgorithms,
}

/// What CHAP has to prove in a login: at least one incoming account, perhaps an outgoing one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapConfig {
    incoming: Vec<ChapAccount>,
    outgoing: Option<ChapAccount>,
    algorithms: Vec<ChapAlgorithm>,
}

impl ChapConfig {
    /// A configuration that allows every algorithm.
    ///
    /// # Errors
    /// [`ChapConfigError`] if there is no incoming account, a name is given twice, or the outgoing secret is
    /// also an incoming one.
    pub fn new(
        incoming: Vec<ChapAccount>,
        outgoing: Option<ChapAccount>,
    ) -> Result<Self, ChapConfigError> {
        if incoming.is_empty() {
            return Err(ChapConfigError::NoIncomingUser);
        }
        for (index, account) in incoming.iter().enumerate() {
            if incoming
                .iter()
                .skip(index + 1)
                .any(|other| other.user == account.user)
            {
                return Err(ChapConfigError::DuplicateUser(account.user.clone()));
            }
            if outgoing
                .as_ref()
                .is_some_and(|out| out.secret == account.secret)
            {
                return Err(ChapConfigError::SameSecretBothWays(account.user.clone()));
            }
        }
        Ok(Self {
            incoming,
            outgoing,
            algorithms: ChapAlgorithm::ALL.to_vec(),
        })
    }

    /// A configuration under which no login ever succeeds: it hides from strangers whether a target exists.
    #[must_use]
    pub fn decoy() -> Self {
        Self {
            incoming: Vec::new(),
            outgoing: None,
            algorithms: ChapAlgorithm::ALL.to_vec(),
        }
    }

    /// As [`ChapConfig::decoy`], with the algorithms of this one: a stranger cannot tell the two.
    #[must_use]
    pub fn decoy_like(&self) -> Self {
        Self {
            incoming: Vec::new(),
            outgoing: None,
            algorithms: self.algorithms.clone(),
        }
    }

    /// The algorithms that it allows.
    #[must_use]
    pub fn algorithms(&self) -> &[ChapAlgorithm] {
        &self.algorithms
    }

    /// Allows only `algorithms`.
    ///
    /// # Errors
    /// [`ChapConfigError::BadAlgorithms`] if the list is empty or repeats one.
    pub fn with_algorithms(
        mut self,
        algorithms: &[ChapAlgorithm],
    ) -> Result<Self, ChapConfigError> {
        let repeats = algorithms
            .iter()
            .enumerate()
            .any(|(index, one)| algorithms.iter().skip(index + 1).any(|other| other == one));
        if algorithms.is_empty() || repeats {
            return Err(ChapConfigError::BadAlgorithms);
        }
        self.algorithms = algorithms.to_vec();
        Ok(self)
    }

    /// Whether the target can authenticate itself to the initiator.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Whether what `user` proved under an earlier configuration is what this one demands: it knows him by the same secret,
    /// and allows all that was allowed then.
    #[must_use]
    pub fn believes(&self, user: &str, before: &Self) -> bool {
        let of = |config: &Self| config.incoming.iter().position(|a| a.user == user);
        let (now, then) = (of(self), of(before));
        let account = now.and_then(|at| self.incoming.get(at));
        account.is_some()
            && account == then.and_then(|at| before.incoming.get(at))
            && before
                .algorithms
                .iter()
                .all(|a| self.algorithms.contains(a))
    }

    /// The first algorithm of a CHAP_A list that is allowed; the initiator's order decides (RFC 7143 §6.2.1).
    #[must_use]
    pub fn select(&self, offer: &str) -> Option<ChapAlgorithm> {
        offer
            .split(',')
            .take(32)
            .filter_map(ChapAlgorithm::from_text)
            .find(|algorithm| self.algorithms.contains(algorithm))
    }
}

/// A rule of CHAP that the initiator broke; each ends the login with status 0201.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChapError {
    /// CHAP_A offers no allowed algorithm.
    #[error("no CHAP algorithm in common")]
    NoCommonAlgorithm,
    /// A binary value is neither hexadecimal nor base64, or longer than allowed.
    #[error("malformed CHAP binary value")]
    BadEncoding,
    /// CHAP_I is not a number from 0 to 255.
    #[error("CHAP_I out of range")]
    BadIdentifier,
    /// CHAP_C is empty or longer than [`MAX_CHALLENGE_LEN`].
    #[error("CHAP_C of illegal length")]
    BadChallenge,
    /// Unknown user or wrong response; the two are not told apart.
    #[error("unknown CHAP user or wrong response")]
    WrongResponse,
    /// The initiator sent our own challenge back (RFC 7143 §9.2.1).
    #[error("CHAP challenge reflected")]
    Reflected,
    /// Mutual authentication asked for, but no outgoing user is configured.
    #[error("mutual CHAP is not configured")]
    MutualNotConfigured,
    /// One of CHAP_I and CHAP_C without the other.
    #[error("CHAP_I and CHAP_C must come together")]
    IncompleteMutual,
    /// The entropy source failed: no challenge can be made.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A challenge that has been sent and not been answered. One check consumes it.
pub struct Challenge {
    algorithm: ChapAlgorithm,
    identifier: u8,
    bytes: [u8; MAX_DIGEST_LEN],
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Challenge {
    /// A fresh challenge as long as the algorithm's digest.
    ///
    /// # Errors
    /// [`ChapError::Random`] if the entropy source fails.
    pub fn issue(
        algorithm: ChapAlgorithm,
        random: &mut (impl Random + ?Sized),
    ) -> Result<Self, ChapError> {
        let mut identifier = [0_u8; 1];
        let mut bytes = [0_u8; MAX_DIGEST_LEN];
        random.fill(&mut identifier)?;
        random.fill(&mut bytes)?;
        // A generator that reports success but wrote nothing must not give a predictable challenge.
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(RandomError.into());
        }
        let [identifier] = identifier;
        Ok(Self {
            algorithm,
            identifier,
            bytes,
        })
    }

    /// The algorithm in force.
    #[must_use]
    pub fn algorithm(&self) -> ChapAlgorithm {
        self.algorithm
    }

    /// CHAP_I.
    #[must_use]
    pub fn identifier(&self) -> u8 {
        self.identifier
    }

    /// CHAP_C.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.algorithm.digest_len())
            .unwrap_or(&self.bytes)
    }

    /// Checks the initiator's whole answer and, if it asks for it, answers its own challenge.
    ///
    /// # Errors
    /// Any [`ChapError`]. The mutual challenge is answered only after the initiator has proved itself, so
    /// the target is no oracle for strangers.
    pub fn verify(
        self,
        config: &ChapConfig,
        answer: &ChapAnswer<'_>,
    ) -> Result<Verified, ChapError> {
        let (response, _) =
            decode_binary(answer.response, MAX_DIGEST_LEN).ok_or(ChapError::BadEncoding)?;
        let account = config
            .incoming
            .iter()
            .find(|account| account.user == answer.user);
        let mut expected = [0_u8; MAX_DIGEST_LEN];
        let secret = account.map_or(&b"no such account"[..], |account| account.secret.expose());
        let expected =
            self.algorithm
                .response(self.identifier, secret, self.bytes(), &mut expected);
        let equal = bool::from(expected.ct_eq(&response));
        let Some(account) = account.filter(|_| equal) else {
            return Err(ChapError::WrongResponse);
        };
        let mutual = match (answer.identifier, answer.challenge) {
            (None, None) => None,
            (Some(identifier), Some(challenge)) => {
                Some(self.answer_mutual(config, identifier, challenge)?)
            }
            _ => return Err(ChapError::IncompleteMutual),
        };
        Ok(Verified {
            user: account.user.clone(),
            mutual,
        })
    }

    fn answer_mutual(
        &self,
        config: &ChapConfig,
        identifier: &str,
        challenge: &str,
    ) -> Result<MutualAnswer, ChapError> {
        let account = config
            .outgoing
            .as_ref()
            .ok_or(ChapError::MutualNotConfigured)?;
        let identifier = super::text::parse_number(identifier)
            .and_then(|number| u8::try_from(number).ok())
            .ok_or(ChapError::BadIdentifier)?;
        let (challenge, form) =
            decode_binary(challenge, MAX_CHALLENGE_LEN).ok_or(ChapError::BadEncoding)?;
        if challenge.is_empty() {
            return Err(ChapError::BadChallenge);
        }
        if challenge == self.bytes() {
            return Err(ChapError::Reflected);
        }
        let mut digest = [0_u8; MAX_DIGEST_LEN];
        let digest =
            self.algorithm
                .response(identifier, account.secret.expose(), &challenge, &mut digest);
        Ok(MutualAnswer {
            user: account.user.clone(),
            response: encode_binary(digest, form),
        })
    }
}

/// The initiator's CHAP keys as received.
#[derive(Debug, Clone, Copy)]
pub struct ChapAnswer<'a> {
    /// CHAP_N.
    pub user: &'a str,
    /// CHAP_R, encoded.
    pub response: &'a str,
    /// CHAP_I of mutual authentication.
    pub identifier: Option<&'a str>,
    /// CHAP_C of mutual authentication, encoded.
    pub challenge: Option<&'a str>,
}

/// The initiator is who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The account that matched.
    pub user: String,
    /// The answer to the initiator's own challenge, if it sent one.
    pub mutual: Option<MutualAnswer>,
}

/// The target's proof for mutual authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutualAnswer {
    /// CHAP_N.
    pub user: String,
    /// CHAP_R, encoded in the form the initiator used for its challenge.
    pub response: String,
}

#[cfg(test)]
pub(crate) mod tests;
