//! Commands, their data in every form, and their answers.

use std::sync::Mutex;

use lunforge_core::DeviceHandler;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{
    ControlMode, DeviceProfile, Execute, Execution, Fence, Identity, Outcome, Transfer,
};
use lunforge_core::sense::Sense;
use lunforge_core::testing::doubles::Blank;
use lunforge_srp::io::Limits;
use lunforge_srp::proto::iu::response::Residual;
use lunforge_srp::proto::iu::{LoginRequest, Solicited};
use lunforge_srp::testing::{Form, Send, login};

use crate::bed::{Bed, NO_LUN, Recipe, TARGET, disk, initiator, pattern, rw};

const FORMS: [Form; 8] = [
    Form::Direct,
    Form::Indirect(1),
    Form::Indirect(7),
    Form::Indirect(200),
    Form::Table(1, 0),
    Form::Table(7, 3),
    Form::Table(300, 200),
    Form::Table(4096, 0),
];

#[test]
fn data_goes_both_ways_in_every_form_of_descriptor() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    for (seed, form) in (0..).zip(FORMS) {
        for len in [512, 4096, 65_536] {
            let data = pattern(seed, len);
            let cdb = rw(0x2A, seed, len);
            let write = Send {
                cdb: &cdb,
                data_out: &data,
                out_form: form,
                ..Send::default()
            };
            let reply = bed.run(&mut channel, &write);
            assert_eq!(
                (reply.status, reply.residual_out),
                (0, Residual::None),
                "{form:?} {len}"
            );
            let cdb = rw(0x28, seed, len);
            let read = Send {
                cdb: &cdb,
                expected_in: len,
                in_form: form,
                ..Send::default()
            };
            let reply = bed.run(&mut channel, &read);
            assert_eq!(
                (reply.status, reply.residual_in),
                (0, Residual::None),
                "{form:?} {len}"
            );
            assert!(reply.data == data, "{form:?} {len}");
        }
    }
    drop(channel);
    bed.assert_empty();
}

#[test]
fn immediate_data_is_written_where_the_login_allowed_it() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let data = pattern(3, 8192);
    let cdb = rw(0x2A, 5, 8192);
    let write = Send {
        cdb: &cdb,
        data_out: &data,
        out_form: Form::Immediate,
        ..Send::default()
    };
    assert_eq!(bed.run(&mut channel, &write).status, 0);
    assert!(bed.read(&mut channel, 5, 8192).data == data);
    // A channel without it logs out whoever does it all the same.
    let login = LoginRequest {
        immediate: false,
        ..login(initiator(2), TARGET)
    };
    let mut channel = bed.connect(&login);
    assert!(!channel.terms.unwrap().unwrap().immediate);
    channel.send(&write);
    bed.poll();
    channel.pump();
    assert!(channel.logout.is_some());
}

#[test]
fn residuals_tell_what_does_not_fit_and_what_is_not_there() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    let inquiry = |expected_in| Send {
        cdb: &[0x12, 0, 0, 0, 36, 0],
        expected_in,
        ..Send::default()
    };
    let reply = bed.run(&mut channel, &inquiry(100));
    assert_eq!(reply.residual_in, Residual::Under(64));
    assert_eq!(reply.data[36..], [0; 64]);
    let reply = bed.run(&mut channel, &inquiry(8));
    assert_eq!(
        (reply.residual_in, reply.data.len()),
        (Residual::Over(28), 8)
    );
    assert_eq!(reply.data[2], 6);
    let none = bed.run(&mut channel, &inquiry(0));
    assert_eq!((none.status, none.residual_in), (0, Residual::Over(36)));
    let data = pattern(1, 1024);
    let cdb = rw(0x2A, 0, 512);
    let more = Send {
        cdb: &cdb,
        data_out: &data,
        ..Send::default()
    };
    assert_eq!(
        bed.run(&mut channel, &more).residual_out,
        Residual::Under(512)
    );
    let cdb = rw(0x2A, 0, 2048);
    let less = Send {
        cdb: &cdb,
        data_out: &data,
        ..Send::default()
    };
    assert_eq!(
        bed.run(&mut channel, &less).residual_out,
        Residual::Over(1024)
    );
}

#[test]
fn sense_data_comes_with_the_response_and_unit_attention_once_for_a_new_nexus() {
    let mut bed = Bed::new();
    let mut channel = bed.connect(&login(initiator(1), TARGET));
    let first = bed.command(&mut channel, &[0; 6]);
    assert_eq!((first.status, first.asc()), (2, Some((0x29, 0))));
    assert_eq!(bed.command(&mut channel, &[0; 6]).status, 0);
    let beyond = bed.read(&mut channel, 0, 512);
    assert_eq!(beyond.status, 0);
    let reply = bed.run(
        &mut channel,
        &Send {
            cdb: &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0],
            expected_in: 512,
            ..Send::default()
        },
    );
    assert_eq!((reply.status, reply.asc()), (2, Some((0x21, 0))));
    let reply = bed.run(
        &mut channel,
        &Send {
            lun: NO_LUN,
            cdb: &[0; 6],
            ..Send::default()
        },
    );
    assert_eq!(reply.asc(), Some((0x25, 0)));
}

/// A device whose one block is written and read at one address, far away, by commands of 32 bytes.
struct Far(Mutex<Vec<u8>>);

const FAR: u64 = 0x0102_0304_0506_0708;

impl DeviceHandler for Far {
    fn identity(&self) -> Identity {
        Blank::default().identity()
    }

    fn profile(&self) -> DeviceProfile {
        Blank::default().profile()
    }

    fn supports(&self, command: CommandId) -> bool {
        matches!(command, CommandId::Read32 | CommandId::Write32)
    }

    fn vpd_pages(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vpd(&self, _: u8) -> Option<Vec<u8>> {
        None
    }

    fn ready(&self) -> Result<(), Sense> {
        Ok(())
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        match cdb.cdb {
            Cdb::Read { lba, .. } if lba.0 == FAR => Ok(Transfer::In(512)),
            Cdb::Write { lba, .. } if lba.0 == FAR => Ok(Transfer::Out(512)),
            _ => Err(Sense::lba_out_of_range()),
        }
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        let mut block = self.0.lock().unwrap();
        Execute::Done(match command.cdb() {
            Cdb::Read { .. } => {
                command.buf().write_at(0, &block);
                Outcome::data(512)
            }
            _ => {
                *block = command.buf().to_vec(0..512);
                Outcome::good()
            }
        })
    }

    fn control(&self) -> ControlMode {
        ControlMode::default()
    }

    fn reset(&self) {}

    fn fence(&self) -> Fence {
        Fence::Unfenced
    }
}

#[test]
fn a_cdb_of_32_bytes_goes_on_in_the_additional_cdb() {
    let mut bed = Recipe::default().serve(Far(Mutex::default()));
    let mut channel = bed.login(1);
    let cdb = |action: u8, lba: u64| {
        let mut cdb = [0; 32];
        cdb[0] = 0x7F;
        cdb[7] = 0x18;
        cdb[9] = action;
        cdb[12..20].copy_from_slice(&lba.to_be_bytes());
        cdb[31] = 1;
        cdb
    };
    for (seed, form) in (0..).zip([Form::Direct, Form::Indirect(2), Form::Immediate]) {
        let data = pattern(seed, 512);
        let write = Send {
            cdb: &cdb(0x0B, FAR),
            data_out: &data,
            out_form: form,
            ..Send::default()
        };
        assert_eq!(bed.run(&mut channel, &write).status, 0, "{form:?}");
        let cdb = cdb(0x09, FAR);
        let mut read = Send {
            cdb: &cdb,
            expected_in: 512,
            ..Send::default()
        };
        assert!(bed.run(&mut channel, &read).data == data, "{form:?}");
        // Without the additional CDB it is cut short.
        read.cdb = &cdb[..16];
        assert_eq!(bed.run(&mut channel, &read).status, 2);
    }
}

#[test]
fn solicited_notification_is_asked_for_by_outcome() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    for (success, failure) in [(true, false), (false, true)] {
        let solicited = Solicited { success, failure };
        let send = |cdb| Send {
            cdb,
            solicited,
            ..Send::default()
        };
        assert_eq!(bed.run(&mut channel, &send(&[0; 6])).solicited, success);
        assert_eq!(bed.run(&mut channel, &send(&[0xFF; 6])).solicited, failure);
    }
}

#[test]
fn a_table_in_memory_that_is_wrong_ends_its_command_and_nothing_else() {
    use lunforge_srp::proto::data::{DataBuffer, Table};
    use lunforge_srp::proto::iu::Command;
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    for (out, len) in [(true, 512u32), (false, 512), (true, 1024), (false, 1024)] {
        let data = channel.wire.map(vec![0; 512]);
        let mut list = Vec::new();
        data.emit(&mut list);
        let table = channel.wire.map(list);
        // The table describes 512 bytes.
        let buffer = DataBuffer::Indirect(Table::new(table, len, &[]).unwrap());
        let blocks = rw(if out { 0x2A } else { 0x28 }, 0, len as usize);
        let mut iu = Vec::new();
        Command {
            solicited: Solicited::default(),
            tag: 1,
            lun: [0; 8],
            attribute: 0,
            cdb: &blocks,
            data_out: if out { buffer } else { DataBuffer::None },
            data_in: if out { DataBuffer::None } else { buffer },
        }
        .emit(0, &mut iu);
        channel.limit -= 1;
        channel.wire.send(&iu);
        bed.poll();
        let answer = channel.wire.take().expect("an answer");
        channel.wire.post_receives(1);
        channel.limit += 1;
        let answer = lunforge_srp::proto::iu::Response::parse(&answer).unwrap();
        let sense = lunforge_core::sense::Sense::parse(answer.sense);
        let asc = sense.map(|sense| (sense.asc.asc, sense.asc.ascq));
        let expected = (len != 512).then_some((0x0E, 3));
        assert_eq!(asc, expected, "{out} {len}");
        channel.wire.unmap(data.key);
        channel.wire.unmap(table.key);
    }
    assert_eq!(bed.command(&mut channel, &[0; 6]).status, 0);
}

#[test]
fn all_task_attributes_are_taken() {
    let mut bed = Bed::new();
    let mut channel = bed.login(1);
    for (attribute, status) in [(0, 0), (1, 0), (2, 0)] {
        let send = Send {
            cdb: &[0; 6],
            attribute,
            ..Send::default()
        };
        assert_eq!(bed.run(&mut channel, &send).status, status, "{attribute}");
    }
    let aca = Send {
        cdb: &[0; 6],
        attribute: 4,
        ..Send::default()
    };
    // There is no ACA: SAM-5 5.3.1.
    assert_eq!(bed.run(&mut channel, &aca).status, 2);
}

#[test]
fn a_full_channel_never_exceeds_and_never_starves() {
    let (mut bed, controls) = Bed::blank();
    let mut channel = bed.login(1);
    let hold = |on| {
        controls
            .hold
            .store(on, std::sync::atomic::Ordering::Relaxed)
    };
    for round in 0..20 {
        hold(true);
        let cdb = rw(0x28, 0, 512);
        let send = Send {
            cdb: &cdb,
            expected_in: 512,
            ..Send::default()
        };
        let mut tags = Vec::new();
        while channel.limit > 0 {
            tags.push(channel.send(&send));
        }
        bed.poll();
        assert_eq!((tags.len(), controls.held()), (8, 8), "{round}");
        hold(false);
        controls.complete_all();
        for tag in tags {
            bed.wait(&mut channel, tag);
        }
        assert_eq!((channel.limit, channel.waiting()), (8, 0));
    }
    assert_eq!(channel.credit_requests, 0);
}

#[test]
fn fewer_requests_are_let_in_while_memory_is_short_and_all_of_them_later() {
    let recipe = Recipe {
        limits: Limits {
            requests: 8,
            ..Limits::default()
        },
        shard: lunforge_core::shard::Limits {
            session_bytes: 64 << 10,
            ..Default::default()
        },
        ..Recipe::default()
    };
    let blank = lunforge_core::testing::doubles::Blank::default();
    let controls = std::sync::Arc::clone(&blank.0);
    let mut bed = recipe.serve(blank);
    let mut channel = bed.login(1);
    controls
        .hold
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let cdb = rw(0x28, 0, 16 << 10);
    let send = Send {
        cdb: &cdb,
        expected_in: 16 << 10,
        ..Send::default()
    };
    let big: Vec<u64> = (0..3).map(|_| channel.send(&send)).collect();
    bed.poll();
    // More than half is held: what is answered now gives no further request out.
    for _ in 0..4 {
        assert_eq!(bed.command(&mut channel, &[0; 6]).status, 0);
    }
    assert_eq!(channel.limit, 1);
    controls
        .hold
        .store(false, std::sync::atomic::Ordering::Relaxed);
    controls.complete_all();
    for tag in big {
        bed.wait(&mut channel, tag);
    }
    bed.command(&mut channel, &[0; 6]);
    assert_eq!(channel.limit, 8);
    drop((channel, disk()));
    bed.assert_empty();
}
