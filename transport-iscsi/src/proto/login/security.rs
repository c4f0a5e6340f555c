//! SecurityNegotiation: AuthMethod and the CHAP exchange (RFC 7143 §6.3.2, §12.1).

use super::LoginFailure;
use super::machine::Leading;
use super::policy::AuthConfig;
use crate::proto::chap::{BinaryForm, Challenge, ChapAnswer, Random, encode_binary};
use crate::proto::text::{Pair, TextWriter};

/// How far authentication has come.
#[derive(Debug)]
pub(super) enum Auth {
    /// AuthMethod has not been offered.
    Start,
    /// CHAP is agreed; CHAP_A is awaited.
    ChapAgreed,
    /// The challenge is out; CHAP_N and CHAP_R are awaited.
    Challenged(Challenge),
    /// The initiator has proved itself, or need not.
    Passed,
}

/// The security keys of one request.
#[derive(Debug, Default, Clone, Copy)]
struct SecurityKeys<'a> {
    method: Option<&'a str>,
    algorithms: Option<&'a str>,
    identifier: Option<&'a str>,
    challenge: Option<&'a str>,
    user: Option<&'a str>,
    response: Option<&'a str>,
}

impl<'a> SecurityKeys<'a> {
    fn collect(pairs: &[Pair<'a>]) -> Self {
        let mut keys = Self::default();
        for pair in pairs {
            let slot = match pair.key {
                "AuthMethod" => &mut keys.method,
                "CHAP_A" => &mut keys.algorithms,
                "CHAP_I" => &mut keys.identifier,
                "CHAP_C" => &mut keys.challenge,
                "CHAP_N" => &mut keys.user,
                "CHAP_R" => &mut keys.response,
                _ => continue,
            };
            *slot = Some(pair.value);
        }
        keys
    }

    /// Fails on any key that was not taken by the current step.
    fn expect_empty(&self) -> Result<(), LoginFailure> {
        let left = [
            (self.method, "AuthMethod"),
            (self.algorithms, "CHAP_A"),
            (self.identifier, "CHAP_I"),
            (self.challenge, "CHAP_C"),
            (self.user, "CHAP_N"),
            (self.response, "CHAP_R"),
        ];
        match left.iter().find(|(value, _)| value.is_some()) {
            Some((_, key)) => Err(LoginFailure::OutOfTurn(key)),
            None => Ok(()),
        }
    }
}

impl Auth {
    /// Takes the security keys of one request and answers them.
    pub(super) fn advance(
        self,
        leading: &mut Leading,
        pairs: &[Pair<'_>],
        random: &mut dyn Random,
        out: &mut TextWriter,
    ) -> Result<Self, LoginFailure> {
        let mut keys = SecurityKeys::collect(pairs);
        let mut state = self;
        // A key is taken only by the step whose turn it is; what is left over is out of turn.
        if let Self::Start = state
            && let Some(offer) = keys.method.take()
        {
            state = choose_method(offer, leading.auth(), out)?;
        }
        match state {
            Self::ChapAgreed => {
                if let Some(offer) = keys.algorithms.take() {
                    state = Self::Challenged(challenge(offer, leading.auth(), random, out)?);
                }
            }
            Self::Challenged(challenge) => {
                state = check_answer(challenge, leading, &mut keys, out)?
            }
            Self::Start | Self::Passed => {}
        }
        keys.expect_empty()?;
        Ok(state)
    }

    /// Whether the stage may be left when the initiator asks for it (T bit). It asks again after each of our
    /// answers; asking without having offered to authenticate is an error.
    pub(super) fn may_leave(&self, auth: &AuthConfig, transit: bool) -> Result<bool, LoginFailure> {
        match self {
            Self::Passed => Ok(transit),
            Self::Start if auth.is_required() => Err(LoginFailure::AuthRequired),
            Self::Start => Ok(transit),
            Self::ChapAgreed | Self::Challenged(_) => Ok(false),
        }
    }
}

/// The first method of the initiator's list that is acceptable: with authentication required, never `None`.
fn choose_method(
    offer: &str,
    auth: &AuthConfig,
    out: &mut TextWriter,
) -> Result<Auth, LoginFailure> {
    let (wanted, state) = if auth.is_required() {
        ("CHAP", Auth::ChapAgreed)
    } else {
        ("None", Auth::Passed)
    };
    if !offer.split(',').any(|method| method == wanted) {
        return Err(LoginFailure::NoCommonAuthMethod);
    }
    out.push("AuthMethod", wanted)?;
    Ok(state)
}

fn challenge(
    offer: &str,
    auth: &AuthConfig,
    random: &mut dyn Random,
    out: &mut TextWriter,
) -> Result<Challenge, LoginFailure> {
    let AuthConfig::Chap(config) = auth else {
        return Err(LoginFailure::OutOfTurn("CHAP_A"));
    };
    let algorithm = config
        .select(offer)
        .ok_or(crate::proto::chap::ChapError::NoCommonAlgorithm)?;
    let challenge = Challenge::issue(algorithm, random)?;
    out.push("CHAP_A", algorithm.text())?;
    out.push("CHAP_I", &challenge.identifier().to_string())?;
    out.push("CHAP_C", &encode_binary(challenge.bytes(), BinaryForm::Hex))?;
    Ok(challenge)
}

/// Checks CHAP_N and CHAP_R. A request without either leaves the challenge open: the exchange count bounds it.
fn check_answer(
    challenge: Challenge,
    leading: &mut Leading,
    keys: &mut SecurityKeys<'_>,
    out: &mut TextWriter,
) -> Result<Auth, LoginFailure> {
    let (user, response) = match (keys.user.take(), keys.response.take()) {
        (Some(user), Some(response)) => (user, response),
        (None, None) => return Ok(Auth::Challenged(challenge)),
        (None, Some(_)) => return Err(LoginFailure::Missing("CHAP_N")),
        (Some(_), None) => return Err(LoginFailure::Missing("CHAP_R")),
    };
    let AuthConfig::Chap(config) = leading.auth() else {
        return Err(LoginFailure::OutOfTurn("CHAP_R"));
    };
    let answer = ChapAnswer {
        user,
        response,
        identifier: keys.identifier.take(),
        challenge: keys.challenge.take(),
    };
    let verified = challenge.verify(config, &answer)?;
    if let Some(mutual) = &verified.mutual {
        out.push("CHAP_N", &mutual.user)?;
        out.push("CHAP_R", &mutual.response)?;
    }
    leading.auth_user = Some(verified.user);
    Ok(Auth::Passed)
}
