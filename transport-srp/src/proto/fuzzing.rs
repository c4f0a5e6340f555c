//! Entry functions for fuzzers and property tests.
//!
//! Each takes arbitrary bytes, must return, and asserts what has to hold for any input.

use super::data::DataBuffer;
use super::iu::login::{LoginForm, LoginReject, LoginResponse};
use super::iu::{LoginRequest, ToInitiator, ToTarget};
use super::login::{Policy, judge};
use super::mad::{self, Datagram, IoUnit, Profile};
use super::port::PortId;

/// Parses the bytes as what each end may be sent, and as a login in both forms; what parses comes back from its emitted form.
/// The first byte has the offset of immediate data.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_iu(bytes: &[u8]) {
    let Some((&offset, iu)) = bytes.split_first() else {
        return;
    };
    let immediate = (offset != 0).then_some(u16::from(offset));
    if let Ok(parsed) = ToTarget::parse(iu, immediate) {
        let mut out = Vec::new();
        match &parsed {
            ToTarget::Command(command) => {
                assert!((16..=268).contains(&command.cdb.len()));
                check_buffer(&command.data_out);
                check_buffer(&command.data_in);
                command.emit(u16::from(offset), &mut out);
            }
            ToTarget::TaskManagement(request) => request.emit(&mut out),
            ToTarget::Logout(request) => request.emit(&mut out),
            ToTarget::Credit(answer) => answer.emit(&mut out),
            ToTarget::Event(answer) => answer.emit(&mut out),
        }
        assert_eq!(ToTarget::parse(&out, immediate), Ok(parsed));
    }
    to_initiator(iu);
    login(iu);
}

/// Parses the bytes as a datagram of device management, and what is behind its header as each attribute, and answers it for an
/// I/O unit; what parses comes back from its emitted form. The first byte says how many targets the unit has.
///
/// # Panics
/// If that does not hold, or what is answered is no answer.
pub fn fuzz_mad(bytes: &[u8]) {
    let Some((&targets, bytes)) = bytes.split_first() else {
        return;
    };
    let Ok(datagram) = Datagram::parse(bytes) else {
        return;
    };
    let again = Datagram::parse(&datagram.emit());
    assert_eq!(again.as_ref(), Ok(&datagram));
    mad::check_attributes(&datagram.data);
    let ports = (0..u64::from(targets)).map(|n| PortId::new(n, n % 7));
    let unit = IoUnit::srp(ports, 0x013F_15B3, &Profile::srp(0, "fuzz"));
    let Some(answer) = datagram.answer(&unit) else {
        assert!(datagram.method != mad::method::GET && datagram.method != mad::method::SET);
        return;
    };
    assert_eq!(answer.method, mad::method::GET_RESP);
    let of = |d: &Datagram| (d.transaction, d.attribute, d.modifier);
    assert_eq!(of(&answer), of(&datagram));
    // An answer is never answered, or two ends would not come to an end.
    assert_eq!(answer.answer(&unit), None);
}

fn check_buffer(buffer: &DataBuffer<'_>) {
    if let DataBuffer::Indirect(table) = buffer {
        let sum: u64 = table.parts().map(|part| u64::from(part.len)).sum();
        assert!(!table.is_complete() || sum == u64::from(table.len));
        for part in table.parts() {
            assert!(part.address.checked_add(part.len.into()).is_some());
        }
    }
}

fn to_initiator(iu: &[u8]) {
    let Ok(parsed) = ToInitiator::parse(iu) else {
        return;
    };
    let mut out = Vec::new();
    match &parsed {
        ToInitiator::LoginResponse(response) => LoginResponse::emit(response, &mut out),
        ToInitiator::LoginReject(reject) => LoginReject::emit(reject, &mut out),
        ToInitiator::Response(response) => response.emit(&mut out),
        ToInitiator::Logout(request) => request.emit(&mut out),
        ToInitiator::Credit(request) => request.emit(&mut out),
        ToInitiator::Event(request) => request.emit(&mut out),
    }
    assert_eq!(ToInitiator::parse(&out), Ok(parsed));
}

fn login(bytes: &[u8]) {
    let policy = Policy {
        max_it_iu_len: 8276,
        max_ti_iu_len: 256,
        depth: 128,
        immediate: true,
    };
    for form in [LoginForm::Ib, LoginForm::Rdma] {
        if let Ok(login) = LoginRequest::parse(bytes, form) {
            let mut out = Vec::new();
            login.emit(form, &mut out);
            assert_eq!(LoginRequest::parse(&out, form), Ok(login));
        }
        match judge(bytes, form, &policy) {
            Ok((_, terms)) => {
                assert!((64..=policy.max_it_iu_len).contains(&terms.it_iu_len));
                assert!(
                    terms
                        .immediate
                        .is_none_or(|at| u32::from(at) < terms.it_iu_len)
                );
            }
            Err((_, reject)) => assert!((0x10000..=0x10006).contains(&reject.reason.code())),
        }
    }
}
