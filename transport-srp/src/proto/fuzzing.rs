//! Entry functions for fuzzers and property tests.
//!
//! Each takes arbitrary bytes, must return, and asserts what has to hold for any input.

use super::data::DataBuffer;
use super::iu::login::{LoginForm, LoginReject, LoginResponse};
use super::iu::{LoginRequest, ToInitiator, ToTarget};
use super::login::{Policy, judge};

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
