//! REPORT and SET TARGET PORT GROUPS, INQUIRY, and what else initiators can ask.

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use common::{CHANGED, READ, READY, RTPG, World, local, stpg_cdb, stpg_list};
use lunforge_alua::{
    AccessState as S, DeviceGroup, StateChange, StatusCode, StpgAgent, StpgRefused, StpgRequest,
    TargetPort, TargetPortGroup,
};
use lunforge_core::designator::{Designator, DesignatorKind};
use lunforge_core::status::Status;
use lunforge_core::testing::Reply;
use lunforge_core::testing::Send as Command;
use lunforge_core::tmf::{Function, Response};
use parking_lot::Mutex;

const FAILED: Option<(u8, u8)> = Some((0x67, 0x0A));

fn good(reply: &Reply) {
    assert_eq!(reply.status, Status::Good, "{reply:?}");
}

fn explicit() -> World {
    let mut world = World::new();
    world.access.explicit(true);
    world.bed.poll();
    world
}

#[test]
fn inquiry_tells_implicit_and_explicit_access_and_the_group_of_the_port() {
    let mut world = World::new();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    let standard = [0x12, 0, 0, 0, 255, 0];
    assert_eq!(world.command(a, &standard).data[5] & 0x30, 0x10);
    world.access.explicit(true);
    world.access.explicit(true);
    assert_eq!(world.command(b, &standard).data[5] & 0x30, 0x30);
    assert_eq!(world.command(a, &READY).asc(), Some((0x3F, 0x03)));
    good(&world.command(a, &READY));
    for (session, group) in [(a, 1), (b, 2)] {
        let page = world.command(session, &[0x12, 1, 0x83, 1, 0, 0]).data;
        let kinds: Vec<_> = Designator::parse_all(&page[4..]).map(|d| d.kind).collect();
        assert!(
            kinds.contains(&DesignatorKind::TargetPortGroup(group)),
            "{kinds:?}"
        );
        assert!(
            kinds.contains(&DesignatorKind::RelativeTargetPort(group)),
            "{kinds:?}"
        );
    }
}

#[test]
fn the_peripheral_qualifier_is_001b_where_the_device_is_out_of_reach() {
    let mut world = World::new();
    world.group.set_hold_bound(Duration::ZERO);
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    for state in S::ALL {
        world.group.set_state(1, state).unwrap();
        let qualifier = if matches!(state, S::Unavailable | S::Offline) {
            0x20
        } else {
            0
        };
        for cdb in [[0x12, 0, 0, 0, 255, 0], [0x12, 1, 0x83, 0, 255, 0]] {
            assert_eq!(world.command(a, &cdb).data[0], qualifier, "{state}");
            assert_eq!(world.command(b, &cdb).data[0], 0, "the other path");
        }
    }
}

#[test]
fn n31_report_target_port_groups_is_cut_to_the_allocation_length_and_tells_its_own() {
    let mut world = World::new();
    let target = "iqn.2026-11.org.example:far".to_owned();
    let far = TargetPort::Remote {
        target,
        relative_port: 0x304,
    };
    let far = TargetPortGroup::new(0x102)
        .in_state(S::Unavailable)
        .preferring(true)
        .with(far);
    world.group.add_target_port_group(far).unwrap();
    world.group.set_implicit_transition_time(30);
    let a = world.session(1, "a");
    let groups = [
        0x00, 0xCF, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, //
        0x00, 0xCF, 0, 2, 0, 2, 0, 1, 0, 0, 0, 2, //
        0x83, 0xCF, 1, 2, 0, 2, 0, 1, 0, 0, 3, 4,
    ];
    let short = [&[0, 0, 0, 36][..], &groups].concat();
    let extended = [&[0, 0, 0, 40, 0x10, 30, 0, 0][..], &groups].concat();
    for (format, whole) in [(0x0A, short), (0x2A, extended)] {
        for alloc in (0..=whole.len() + 2).chain([0xFFFF, 0xFFFF_FFFF]) {
            let mut cdb = RTPG;
            cdb[1] = format;
            cdb[6..10].copy_from_slice(&(alloc as u32).to_be_bytes());
            let reply = world.command(a, &cdb);
            good(&reply);
            assert_eq!(reply.data, whole[..alloc.min(whole.len())], "{alloc}");
        }
    }
    let mut unknown = RTPG;
    unknown[1] = 0x4A;
    assert_eq!(world.command(a, &unknown).asc(), Some((0x24, 0)));
}

#[test]
fn set_target_port_groups_exists_where_the_unit_allows_it_and_the_list_of_commands_agrees() {
    let mut world = World::new();
    let a = world.session(1, "a");
    let listed = |world: &mut World, opcode, action| {
        let cdb = [0xA3, 0x0C, 2, opcode, 0, action, 0, 0, 0, 64, 0, 0];
        world.command(a, &cdb).data[1] & 7
    };
    assert_eq!(world.stpg(a, &[(2, 2)]).asc(), Some((0x20, 0)));
    assert_eq!(
        [
            listed(&mut world, 0xA3, 0x0A),
            listed(&mut world, 0xA4, 0x0A)
        ],
        [3, 1]
    );
    world.access.explicit(true);
    world.command(a, &READY);
    assert_eq!(listed(&mut world, 0xA4, 0x0A), 3);
    good(&world.stpg(a, &[(2, 2)]));
    world.access.explicit(false);
    world.command(a, &READY);
    assert_eq!(world.stpg(a, &[(2, 2)]).asc(), Some((0x20, 0)));
    world.group.remove_unit(&world.access).unwrap();
    world.command(a, &READY);
    assert_eq!(
        [
            listed(&mut world, 0xA3, 0x0A),
            listed(&mut world, 0xA4, 0x0A)
        ],
        [1, 1]
    );
}

#[test]
fn what_one_path_sets_the_other_sees_and_the_one_that_set_it_is_not_told() {
    let mut world = explicit();
    let (a, also_a, b) = (
        world.session(1, "a"),
        world.session(1, "x"),
        world.session(2, "b"),
    );
    good(&world.stpg(a, &[(2, 1), (1, 2)]));
    good(&world.stpg(a, &[(2, 1), (1, 2)]));
    assert_eq!(
        world.command(a, &READY).asc(),
        Some((0x04, 0x0B)),
        "no unit attention"
    );
    for session in [also_a, b] {
        assert_eq!(world.command(session, &READY).asc(), CHANGED);
    }
    good(&world.command(b, &READY));
    assert_eq!(world.reported(b), [(1, 2), (2, 1)]);
    let status: Vec<_> = world
        .group
        .target_port_groups()
        .iter()
        .map(|g| g.status())
        .collect();
    assert_eq!(status, [StatusCode::Explicit; 2]);
    world.group.set_state(1, S::ActiveOptimized).unwrap();
    assert_eq!(
        world.group.target_port_groups()[0].status(),
        StatusCode::Implicit
    );
    assert_eq!(
        world.command(a, &READY).asc(),
        CHANGED,
        "this was not its own change"
    );
}

#[test]
fn n51_a_wrong_parameter_list_changes_nothing() {
    let mut world = explicit();
    let b = world.session(2, "b");
    let before = world.group.target_port_groups();
    let invalid = Some((0x26, 0));
    for (list, asc) in [
        (stpg_list(&[(2, 1), (2, 7)]), invalid),
        (stpg_list(&[(2, 1), (4, 2)]), invalid),
        (stpg_list(&[(2, 1), (0xF, 2)]), invalid),
        (stpg_list(&[(2, 1), (9, 2)]), invalid),
        (stpg_list(&[(2, 1), (2, 2), (0, 1)]), invalid),
        (stpg_list(&[(2, 1), (0xE, 9)]), invalid),
        (stpg_list(&[(2, 1)])[..7].to_vec(), Some((0x1A, 0))),
        (vec![0; 3], Some((0x1A, 0))),
        (vec![0; 4 + 4 * 1025], Some((0x24, 0))),
    ] {
        let reply = world.bed.command(b, 0, &stpg_cdb(list.len()), &list, 0);
        assert_eq!(reply.asc(), asc, "{list:x?}");
    }
    // Less data than announced.
    let cut = world
        .bed
        .command(b, 0, &stpg_cdb(12), &stpg_list(&[(2, 1)]), 0);
    assert_eq!(cut.asc(), Some((0x1A, 0)));
    for nothing in [&[][..], &[0; 4]] {
        good(
            &world
                .bed
                .command(b, 0, &stpg_cdb(nothing.len()), nothing, 0),
        );
    }
    assert_eq!(world.group.target_port_groups(), before);
    good(&world.command(b, &READY));
}

#[test]
fn a_port_that_is_the_whole_of_its_group_can_be_set_offline() {
    let mut world = explicit();
    let b = world.session(2, "b");
    good(&world.stpg(b, &[(0xE, 1)]));
    assert_eq!(world.reported(b), [(1, 0xE), (2, 0)]);
    good(&world.stpg(b, &[(0, 1)]));
    assert_eq!(world.reported(b), [(1, 0), (2, 0)]);
}

/// An agent that answers what the test sends it.
struct Told {
    requests: Mutex<Sender<Vec<StateChange>>>,
    answers: Mutex<Receiver<Result<(), StpgRefused>>>,
    limit: Duration,
    calls: AtomicUsize,
}

type Script = (
    Arc<Told>,
    Receiver<Vec<StateChange>>,
    Sender<Result<(), StpgRefused>>,
);

fn told(limit: Duration) -> Script {
    let (requests, requested) = channel();
    let (answer, answers) = channel();
    let (requests, answers) = (Mutex::new(requests), Mutex::new(answers));
    let calls = AtomicUsize::new(0);
    (
        Arc::new(Told {
            requests,
            answers,
            limit,
            calls,
        }),
        requested,
        answer,
    )
}

impl StpgAgent for Told {
    fn set_target_port_groups(&self, request: &StpgRequest) -> Result<(), StpgRefused> {
        assert_eq!(request.device_group, "group");
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.requests
            .lock()
            .send(request.changes.clone())
            .expect("the test listens");
        self.answers.lock().recv().expect("an answer")
    }

    fn time_limit(&self) -> Duration {
        self.limit
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_agent_is_asked_what_is_to_change_and_its_answer_decides() {
    let mut world = explicit();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    let (agent, requested, answer) = told(LONG);
    world.group.set_agent(Some(agent.clone()));
    let asked = [StateChange {
        group: 1,
        from: S::ActiveOptimized,
        to: S::Standby,
    }];
    answer.send(Err(StpgRefused("no".into()))).unwrap();
    let refused = world.stpg(b, &[(2, 1), (0, 2)]);
    assert_eq!(
        (refused.asc(), refused.sense.unwrap().key.code()),
        (FAILED, 4)
    );
    assert_eq!(requested.recv().unwrap(), asked);
    assert_eq!(world.reported(a), [(1, 0), (2, 0)]);
    answer.send(Ok(())).unwrap();
    good(&world.stpg(b, &[(2, 1), (0, 2)]));
    assert_eq!(world.command(a, &READY).asc(), CHANGED);
    assert_eq!(world.reported(a), [(1, 2), (2, 0)]);
    good(&world.stpg(b, &[(2, 1)]));
    assert_eq!(
        agent.calls.load(Ordering::SeqCst),
        2,
        "what holds already is not asked for"
    );
}

#[test]
fn an_agent_that_never_answers_holds_up_nobody() {
    let mut world = explicit();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    let (agent, requested, answer) = told(Duration::ZERO);
    world.group.set_agent(Some(agent.clone()));
    assert_eq!(
        world.stpg(b, &[(2, 1)]).asc(),
        FAILED,
        "after its time limit"
    );
    requested.recv().unwrap();
    for _ in 0..100 {
        assert_eq!(
            world.stpg(b, &[(2, 1)]).asc(),
            FAILED,
            "while the first call is stuck"
        );
    }
    assert_eq!(agent.calls.load(Ordering::SeqCst), 1, "no second thread");
    assert_eq!(world.read(a).status, Status::Good);
    world.group.set_state(2, S::ActiveNonOptimized).unwrap();
    assert_eq!(world.command(b, &READY).asc(), CHANGED);
    assert_eq!(
        world.reported(b),
        [(1, 0), (2, 1)],
        "nothing but that has changed"
    );
    answer.send(Ok(())).unwrap();
}

#[test]
fn while_an_agent_thinks_commands_go_on_and_a_second_request_is_told_to_come_again() {
    let mut world = explicit();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    let (agent, requested, answer) = told(LONG);
    world.group.set_agent(Some(agent));
    let data_out = stpg_list(&[(2, 1)]);
    let cdb = stpg_cdb(data_out.len()).to_vec();
    let first = world.bed.send(
        b,
        Command {
            cdb,
            data_out,
            ..Command::default()
        },
    );
    requested.recv().unwrap();
    assert_eq!(world.stpg(a, &[(2, 2)]).status, Status::Busy);
    good(&world.read(a));
    assert!(world.bed.ended(b, first).is_none());
    answer.send(Ok(())).unwrap();
    good(&world.bed.wait(b, first));
    assert_eq!(world.command(a, &READY).asc(), CHANGED);
}

#[test]
fn n51_an_aborted_request_that_its_agent_grants_later_changes_nothing() {
    let mut world = explicit();
    let b = world.session(2, "b");
    let (agent, requested, answer) = told(LONG);
    world.group.set_agent(Some(agent));
    let data_out = stpg_list(&[(2, 1)]);
    let cdb = stpg_cdb(data_out.len()).to_vec();
    let tag = world.bed.send(
        b,
        Command {
            cdb,
            data_out,
            ..Command::default()
        },
    );
    requested.recv().unwrap();
    let abort = world.bed.begin_tmf(b, 0, Function::AbortTask(tag));
    assert_eq!(world.bed.tmf_ended(b, abort), None);
    world.bed.advance(Duration::from_secs(1));
    assert_eq!(world.bed.tmf_ended(b, abort), Some(Response::Complete));
    answer.send(Ok(())).unwrap();
    // The place is free again when the thread has looked at the answer.
    world.group.set_agent(None);
    while world.stpg(b, &[(1, 2)]).status == Status::Busy {}
    assert_eq!(world.reported(b), [(1, 0), (2, 1)]);
}

/// Does itself what it is asked for, as a cluster's script does.
struct Doer(DeviceGroup);

impl StpgAgent for Doer {
    fn set_target_port_groups(&self, request: &StpgRequest) -> Result<(), StpgRefused> {
        for change in &request.changes {
            let done = self.0.set_state(change.group, change.to);
            done.map_err(|error| StpgRefused(error.to_string()))?;
        }
        Ok(())
    }
}

#[test]
fn an_agent_may_make_the_change_itself_and_it_counts_as_the_initiators() {
    let mut world = explicit();
    let (a, b) = (world.session(1, "a"), world.session(2, "b"));
    world
        .group
        .set_agent(Some(Arc::new(Doer(world.group.clone()))));
    good(&world.stpg(a, &[(2, 1), (1, 2)]));
    assert_eq!(
        world.command(a, &READ).asc(),
        Some((0x04, 0x0B)),
        "no unit attention"
    );
    assert_eq!(world.command(b, &READY).asc(), CHANGED);
    assert_eq!(
        world.group.target_port_groups()[0].status(),
        StatusCode::Explicit
    );
}

struct Panics;

impl StpgAgent for Panics {
    fn set_target_port_groups(&self, _: &StpgRequest) -> Result<(), StpgRefused> {
        panic!("as told")
    }
}

#[test]
fn an_agent_that_panics_has_refused() {
    let mut world = explicit();
    let b = world.session(2, "b");
    world.group.set_agent(Some(Arc::new(Panics)));
    for _ in 0..2 {
        assert_eq!(world.stpg(b, &[(2, 1)]).asc(), FAILED);
    }
    assert_eq!(world.reported(b), [(1, 0), (2, 0)]);
}

#[test]
fn a_request_by_a_standby_port_is_carried_out_and_one_in_transition_waits() {
    let mut world = explicit();
    world.group.set_state(1, S::Standby).unwrap();
    let a = world.session(1, "a");
    good(&world.stpg(a, &[(0, 1)]));
    good(&world.read(a));
    world.group.set_hold_bound(Duration::ZERO);
    world.group.set_state(1, S::Transitioning).unwrap();
    assert_eq!(world.stpg(a, &[(0, 1)]).asc(), Some((0x04, 0x0A)));
}

#[test]
fn a_request_that_a_store_cannot_follow_fails_and_leaves_the_group_unavailable() {
    let mut world = explicit();
    world.access.bind_alua_state(true).unwrap();
    for group in [1, 2] {
        world.group.set_state(group, S::Standby).unwrap();
    }
    let a = world.session(1, "a");
    world.probe.fail.store(true, Ordering::SeqCst);
    assert_eq!(world.stpg(a, &[(0, 1)]).asc(), FAILED);
    assert_eq!(
        world.command(a, &READY).asc(),
        CHANGED,
        "not what it asked for"
    );
    assert_eq!(world.reported(a), [(1, 3), (2, 2)]);
}

#[test]
fn the_state_of_a_port_that_changes_is_that_of_its_new_group() {
    let mut world = World::new();
    let a = world.session(1, "a");
    world.group.add_target_port_group(local(3, 7)).unwrap();
    world.group.set_state(3, S::Standby).unwrap();
    world.targets[0].set_relative_port(7).unwrap();
    let told = |world: &mut World| world.bed.command(a, 0, &READY, &[], 0).asc();
    while told(&mut world) == Some((0x3F, 0x03)) {}
    assert_eq!(told(&mut world), Some((0x04, 0x0B)));
    world.targets[0].set_relative_port(1).unwrap();
    assert_eq!(told(&mut world), Some((0x3F, 0x03)));
    assert_eq!(told(&mut world), None);
}
