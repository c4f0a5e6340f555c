//! What a login agrees on (SRP clause 5).

use super::error::{Consequence, Violation};
use super::iu::command;
use super::iu::login::{
    LoginForm, LoginReject, LoginRequest, LoginResponse, MultiChannelAction, MultiChannelResult,
    RejectReason, buffer_format,
};
use super::iu::response;

/// Data buffer descriptor formats that are known here.
pub const FORMATS: u16 = buffer_format::DIRECT | buffer_format::INDIRECT;
/// The shortest information unit that an initiator may ask for (SRP 6.2).
pub const MIN_IT_IU_LEN: u32 = 64;
/// The shortest information unit for responses: one with fixed format sense data.
pub const MIN_TI_IU_LEN: u32 = response::FIXED_LEN as u32 + 28;
/// Length of what stands before immediate data in its command at least: the fixed part, and its length.
const IMMEDIATE_MIN: u16 = command::FIXED_LEN as u16 + 4;

/// What a target allows a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest information unit to the target, in bytes.
    pub max_it_iu_len: u32,
    /// Longest information unit to the initiator, in bytes.
    pub max_ti_iu_len: u32,
    /// Requests at a time.
    pub depth: u32,
    /// Whether immediate data is taken.
    pub immediate: bool,
}

/// What a channel's login agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Longest information unit to the target, in bytes.
    pub it_iu_len: u32,
    /// Longest information unit to the initiator, in bytes.
    pub ti_iu_len: u32,
    /// Requests at a time.
    pub depth: u32,
    /// Where immediate data begins, if it is allowed.
    pub immediate: Option<u16>,
    /// Target logouts go with solicited notification.
    pub logout_solicited: bool,
    /// Credit requests go with solicited notification.
    pub credit_solicited: bool,
    /// Asynchronous events go with solicited notification.
    pub event_solicited: bool,
}

/// Reads a login request and what is asked for in it.
///
/// # Errors
/// The violation, and the SRP_LOGIN_REJ that says so.
pub fn judge(
    bytes: &[u8],
    form: LoginForm,
    policy: &Policy,
) -> Result<(LoginRequest, Terms), (Violation, LoginReject)> {
    let login = LoginRequest::parse(bytes, form).map_err(|error| {
        let violation = Violation::Login(error);
        (violation, rejection(0, violation))
    })?;
    match terms(&login, policy) {
        Ok(terms) => Ok((login, terms)),
        Err(violation) => Err((violation, rejection(login.tag, violation))),
    }
}

fn terms(login: &LoginRequest, policy: &Policy) -> Result<Terms, Violation> {
    let length = MIN_IT_IU_LEN..=policy.max_it_iu_len;
    if !length.contains(&login.req_it_iu_len) {
        return Err(Violation::IuLength(login.req_it_iu_len));
    }
    if login.buffer_formats & !FORMATS != 0 {
        return Err(Violation::BufferFormats(login.buffer_formats));
    }
    if let MultiChannelAction::Reserved(action) = login.action {
        return Err(Violation::Action(action));
    }
    // An offset that leaves no room on either side is as if nothing had been asked for: the response says so.
    let room = login.immediate_offset >= IMMEDIATE_MIN
        && u32::from(login.immediate_offset) < login.req_it_iu_len;
    let immediate = login.immediate && policy.immediate && room;
    Ok(Terms {
        it_iu_len: login.req_it_iu_len,
        ti_iu_len: policy.max_ti_iu_len.max(MIN_TI_IU_LEN),
        depth: policy.depth.max(1),
        immediate: immediate.then_some(login.immediate_offset),
        logout_solicited: login.logout_solicited,
        credit_solicited: login.credit_solicited,
        event_solicited: login.event_solicited,
    })
}

/// The SRP_LOGIN_REJ for a violation.
#[must_use]
pub fn rejection(tag: u64, violation: Violation) -> LoginReject {
    let reason = match violation.consequence() {
        Consequence::Reject(reason) => reason,
        _ => RejectReason::Unspecified,
    };
    reject(tag, reason)
}

/// A SRP_LOGIN_REJ.
#[must_use]
pub fn reject(tag: u64, reason: RejectReason) -> LoginReject {
    LoginReject {
        tag,
        reason,
        buffer_formats: FORMATS,
    }
}

impl Terms {
    /// The SRP_LOGIN_RSP to the login with this tag.
    #[must_use]
    pub fn response(&self, tag: u64, result: MultiChannelResult) -> LoginResponse {
        LoginResponse {
            tag,
            request_limit_delta: self.depth,
            max_it_iu_len: self.it_iu_len,
            max_ti_iu_len: self.ti_iu_len,
            buffer_formats: FORMATS,
            result,
            solicited: true,
            immediate: self.immediate.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::port::PortId;

    const POLICY: Policy = Policy {
        max_it_iu_len: 8276,
        max_ti_iu_len: 256,
        depth: 16,
        immediate: true,
    };

    fn login() -> LoginRequest {
        LoginRequest {
            tag: 5,
            req_it_iu_len: 260,
            buffer_formats: FORMATS,
            action: MultiChannelAction::Single,
            logout_solicited: false,
            credit_solicited: true,
            event_solicited: false,
            immediate: true,
            immediate_offset: 68,
            initiator: PortId::new(1, 2),
            target: PortId::new(3, 4),
        }
    }

    fn judged(login: &LoginRequest) -> Result<Terms, (u64, RejectReason)> {
        let mut bytes = Vec::new();
        login.emit(LoginForm::Rdma, &mut bytes);
        match judge(&bytes, LoginForm::Rdma, &POLICY) {
            Ok((back, terms)) => {
                assert_eq!(back, *login);
                Ok(terms)
            }
            Err((_, reject)) => Err((reject.tag, reject.reason)),
        }
    }

    #[test]
    fn an_acceptable_login_gets_what_both_ends_allow() {
        let terms = judged(&login()).unwrap();
        assert_eq!(terms.it_iu_len, 260);
        assert_eq!(terms.immediate, Some(68));
        let response = terms.response(5, MultiChannelResult::Maintained);
        assert_eq!(response.request_limit_delta, 16);
        assert_eq!((response.max_it_iu_len, response.max_ti_iu_len), (260, 256));
        assert!(response.immediate && response.solicited && terms.credit_solicited);
    }

    #[test]
    fn each_rule_has_its_reason_and_the_tag_comes_back() {
        let with = |change: fn(&mut LoginRequest)| {
            let mut login = login();
            change(&mut login);
            judged(&login).unwrap_err()
        };
        for len in [0, 63, 8277, u32::MAX] {
            let login = LoginRequest {
                req_it_iu_len: len,
                ..login()
            };
            assert_eq!(judged(&login).unwrap_err(), (5, RejectReason::IuLength));
        }
        let formats = with(|login| login.buffer_formats = 0x8006);
        assert_eq!(formats, (5, RejectReason::DescriptorFormat));
        let action = with(|login| login.action = MultiChannelAction::Reserved(2));
        assert_eq!(action, (5, RejectReason::Association));
    }

    #[test]
    fn what_is_no_login_is_rejected_without_a_tag() {
        for len in [0, 1, 55] {
            let (violation, reject) = judge(&vec![0; len], LoginForm::Rdma, &POLICY).unwrap_err();
            assert!(matches!(violation, Violation::Login(_)));
            assert_eq!((reject.tag, reject.reason), (0, RejectReason::Unspecified));
        }
    }

    #[test]
    fn immediate_data_without_room_for_it_is_not_agreed_on() {
        for (offset, agreed) in [
            (0, false),
            (51, false),
            (52, true),
            (259, true),
            (260, false),
        ] {
            let login = LoginRequest {
                immediate_offset: offset,
                ..login()
            };
            assert_eq!(
                judged(&login).unwrap().immediate.is_some(),
                agreed,
                "{offset}"
            );
        }
    }
}
