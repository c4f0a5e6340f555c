use super::*;
use crate::proto::data::{DataBuffer, Remote, Table};
use crate::proto::iu::{
    AsyncEventResponse, Command, CreditResponse, InitiatorLogout, TaskManagement, ToInitiator,
};

fn terms(depth: u32) -> Terms {
    Terms {
        it_iu_len: 260,
        ti_iu_len: 64,
        depth,
        immediate: None,
        logout_solicited: true,
        credit_solicited: true,
        event_solicited: false,
    }
}

struct Bed {
    channel: Channel,
    tags: Tags,
    out: Vec<u8>,
}

impl Bed {
    fn new(depth: u32) -> Self {
        Self {
            channel: Channel::new(3, terms(depth)),
            tags: Tags::default(),
            out: Vec::new(),
        }
    }

    fn receive<'a>(&mut self, iu: &'a [u8]) -> Event<'a> {
        self.out.clear();
        self.channel.receive(&mut self.tags, iu, &mut self.out)
    }

    fn sent(&self) -> ToInitiator<'_> {
        ToInitiator::parse(&self.out).unwrap()
    }

    fn respond(&mut self, task: TaskId, answer: &Answer<'_>) -> Response<'_> {
        self.out.clear();
        let known = self
            .channel
            .respond(&mut self.tags, task, answer, &mut self.out);
        assert!(known);
        Response::parse(&self.out).unwrap()
    }
}

fn command(tag: u64) -> Vec<u8> {
    with(tag, 0, DataBuffer::None)
}

fn with(tag: u64, attribute: u8, data_in: DataBuffer<'_>) -> Vec<u8> {
    let mut iu = Vec::new();
    Command {
        solicited: Solicited {
            success: false,
            failure: true,
        },
        tag,
        lun: [0; 8],
        attribute,
        cdb: &[0; 16],
        data_out: DataBuffer::None,
        data_in,
    }
    .emit(0, &mut iu);
    iu
}

fn managed(function: u8, managed: u64) -> Vec<u8> {
    let mut iu = Vec::new();
    TaskManagement {
        solicited: Solicited::default(),
        tag: 99,
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        function,
        managed,
    }
    .emit(&mut iu);
    iu
}

fn task(event: Event<'_>) -> TaskId {
    match event {
        Event::Command { task, .. } | Event::Function { task, .. } => task,
        other => panic!("{other:?}"),
    }
}

const GOOD: Answer<'_> = Answer {
    status: Status::Good,
    sense: &[],
    total_in: 0,
    total_out: 0,
};

#[test]
fn a_command_is_answered_with_its_tag_residuals_and_cut_sense() {
    let mut bed = Bed::new(4);
    let data_in = DataBuffer::Direct(Remote {
        len: 512,
        ..Remote::default()
    });
    let id = task(bed.receive(&with(7, 0, data_in)));
    let answer = Answer {
        status: Status::CheckCondition,
        sense: &[0x70; 100],
        total_in: 12,
        total_out: 3,
    };
    let response = bed.respond(id, &answer);
    assert_eq!((response.tag, response.status), (7, 2));
    assert_eq!(response.residual_in, Residual::Under(500));
    assert_eq!(response.residual_out, Residual::Over(3));
    assert_eq!(response.sense, [0x70; 28]);
    assert_eq!(response.request_limit_delta, 1);
    assert!(response.solicited);
    assert!(bed.tags.is_empty() && bed.channel.tasks() == 0);
    // Exactly once.
    assert!(
        !bed.channel
            .respond(&mut bed.tags, id, &GOOD, &mut Vec::new())
    );
}

#[test]
fn every_task_attribute_is_told_and_reserved_ones_are_refused() {
    let mut bed = Bed::new(9);
    let attributes = [
        Some(TaskAttribute::Simple),
        Some(TaskAttribute::HeadOfQueue),
        Some(TaskAttribute::Ordered),
        None,
        Some(TaskAttribute::Aca),
        None,
        None,
        None,
    ];
    for (code, expected) in (0..).zip(attributes) {
        match (
            bed.receive(&with(u64::from(code), code, DataBuffer::None)),
            expected,
        ) {
            (Event::Command { attribute, .. }, Some(expected)) => assert_eq!(attribute, expected),
            (Event::Answered, None) => {
                let ToInitiator::Response(response) = bed.sent() else {
                    panic!()
                };
                assert_eq!(
                    (response.status, response.sense[12..14].to_vec()),
                    (2, vec![0x0E, 3])
                );
            }
            (other, expected) => panic!("{code} {other:?} {expected:?}"),
        }
    }
    assert_eq!(bed.channel.tasks(), 4);
}

#[test]
fn a_malformed_table_ends_the_command_and_an_unknown_format_the_channel() {
    let mut bed = Bed::new(2);
    let table = Remote {
        len: 16,
        ..Remote::default()
    };
    let list = [0; 16];
    let data_in = DataBuffer::Indirect(Table::new(table, 0, &list).unwrap());
    let mut iu = with(5, 0, data_in);
    iu[67] = 1;
    assert_eq!(bed.receive(&iu), Event::Answered);
    let ToInitiator::Response(response) = bed.sent() else {
        panic!()
    };
    assert_eq!(
        (response.tag, response.status, response.request_limit_delta),
        (5, 2, 1)
    );
    iu[5] = 0x50;
    assert!(matches!(
        bed.receive(&iu),
        Event::Broken(Violation::Format(_))
    ));
    let ToInitiator::Logout(logout) = bed.sent() else {
        panic!()
    };
    assert_eq!(
        (logout.reason, logout.solicited),
        (LogoutReason::DataOutFormat, true)
    );
    assert_eq!(bed.receive(&command(6)), Event::Nothing);
}

#[test]
fn each_violation_is_told_with_its_reason() {
    let credit = |tag| {
        let mut iu = Vec::new();
        CreditResponse { tag }.emit(&mut iu);
        iu
    };
    let cases = [
        (vec![], LogoutReason::Length),
        (vec![2; 47], LogoutReason::Length),
        (vec![0; 64], LogoutReason::Type),
        (vec![0x80; 64], LogoutReason::Type),
        (credit(1), LogoutReason::SpuriousResponse),
    ];
    for (iu, reason) in cases {
        let mut bed = Bed::new(1);
        assert!(matches!(bed.receive(&iu), Event::Broken(_)), "{iu:?}");
        assert!(matches!(bed.sent(), ToInitiator::Logout(logout) if logout.reason == reason));
        assert!(!bed.channel.is_live());
    }
}

#[test]
fn a_request_beyond_the_limit_and_a_tag_in_use_end_the_channel() {
    let mut bed = Bed::new(1);
    task(bed.receive(&command(1)));
    assert_eq!(
        bed.receive(&command(2)),
        Event::Broken(Violation::RequestLimit)
    );
    let mut bed = Bed::new(2);
    task(bed.receive(&command(1)));
    assert_eq!(bed.receive(&command(1)), Event::Broken(Violation::Tag));
    assert_eq!(bed.tags.len(), 1);
}

#[test]
fn task_management_names_requests_by_their_place_and_says_complete_for_what_has_ended() {
    let mut bed = Bed::new(8);
    let victim = task(bed.receive(&command(7)));
    let iu = managed(function::ABORT_TASK, 7);
    let Event::Function { task, function, .. } = bed.receive(&iu) else {
        panic!()
    };
    assert_eq!(function, tmf::Function::AbortTask(victim.to_u64()));
    bed.channel.abandon(&mut bed.tags, victim);
    let Bed { channel, tags, out } = &mut bed;
    channel.respond_function(tags, task, tmf::Response::Complete, out);
    let response = Response::parse(&bed.out).unwrap();
    assert_eq!(
        (response.tag, response.code),
        (99, Some(ResponseCode::Complete))
    );
    // The credit of the aborted command goes with it.
    assert_eq!(response.request_limit_delta, 2);
    assert_eq!(bed.receive(&iu), Event::Answered);
    assert!(
        matches!(bed.sent(), ToInitiator::Response(r) if r.code == Some(ResponseCode::Complete))
    );
}

#[test]
fn functions_are_known_by_their_codes_and_answered_by_theirs() {
    let known = [
        (function::ABORT_TASK_SET, tmf::Function::AbortTaskSet),
        (function::CLEAR_TASK_SET, tmf::Function::ClearTaskSet),
        (
            function::LOGICAL_UNIT_RESET,
            tmf::Function::LogicalUnitReset,
        ),
        (function::CLEAR_ACA, tmf::Function::ClearAca),
    ];
    let answers = [
        (tmf::Response::Complete, ResponseCode::Complete),
        (tmf::Response::NoSuchTask, ResponseCode::Complete),
        (tmf::Response::IncorrectLun, ResponseCode::InvalidFields),
        (tmf::Response::Rejected, ResponseCode::Failed),
    ];
    for code in (0..=u8::MAX).filter(|code| *code != function::ABORT_TASK) {
        let mut bed = Bed::new(1);
        let iu = managed(code, 0);
        let expected = known.iter().find(|(known, _)| *known == code);
        match (bed.receive(&iu), expected) {
            (Event::Function { function, lun, .. }, Some((_, expected))) => {
                assert_eq!((function, lun[1]), (*expected, 1));
            }
            (Event::Answered, None) => {
                let ToInitiator::Response(response) = bed.sent() else {
                    panic!()
                };
                assert_eq!(response.code, Some(ResponseCode::NotSupported));
            }
            (other, _) => panic!("{code} {other:?}"),
        }
    }
    for (response, code) in answers {
        let mut bed = Bed::new(1);
        let id = task(bed.receive(&managed(function::CLEAR_ACA, 0)));
        let Bed { channel, tags, out } = &mut bed;
        channel.respond_function(tags, id, response, out);
        assert_eq!(Response::parse(out).unwrap().code, Some(code));
    }
}

#[test]
fn credits_of_aborted_commands_are_told_when_nothing_else_would() {
    let mut bed = Bed::new(1);
    let id = task(bed.receive(&command(1)));
    assert!(!bed.channel.ask(&mut bed.out));
    bed.channel.abandon(&mut bed.tags, id);
    bed.out.clear();
    assert!(bed.channel.ask(&mut bed.out));
    let ToInitiator::Credit(request) = bed.sent() else {
        panic!()
    };
    assert_eq!((request.request_limit_delta, request.solicited), (1, true));
    let mut answer = Vec::new();
    CreditResponse { tag: request.tag }.emit(&mut answer);
    // One question at a time.
    assert!(!bed.channel.report([0; 8], &[], &mut Vec::new()));
    assert_eq!(bed.receive(&answer), Event::Nothing);
    assert!(matches!(
        bed.receive(&answer),
        Event::Broken(Violation::SpuriousResponse)
    ));
}

#[test]
fn an_event_is_reported_and_answered() {
    let mut bed = Bed::new(1);
    assert!(bed.channel.report([1; 8], &[0x70, 0, 6], &mut bed.out));
    let ToInitiator::Event(event) = bed.sent() else {
        panic!()
    };
    assert_eq!((event.lun, event.sense), ([1; 8], [0x70, 0, 6].as_slice()));
    let mut answer = Vec::new();
    AsyncEventResponse { tag: event.tag }.emit(&mut answer);
    assert!(!bed.channel.ask(&mut Vec::new()));
    assert_eq!(bed.receive(&answer), Event::Nothing);
}

#[test]
fn after_a_logout_commands_end_without_a_word() {
    let mut bed = Bed::new(2);
    let id = task(bed.receive(&command(1)));
    let mut iu = Vec::new();
    InitiatorLogout { tag: 2 }.emit(&mut iu);
    assert_eq!(bed.receive(&iu), Event::Logout);
    let Bed { channel, tags, out } = &mut bed;
    assert!(channel.respond(tags, id, &GOOD, out));
    assert!(!channel.log_out(LogoutReason::Unspecified, out));
    assert!(!channel.ask(out) && !channel.report([0; 8], &[], out));
    assert!(out.is_empty() && tags.is_empty());
}
