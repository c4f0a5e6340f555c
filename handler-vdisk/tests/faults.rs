//! Stores that misbehave, hang or lose their device: contained to their unit, bounded, and no stale write.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use lunforge_core::handler::{DeviceHandler, Fence};
use lunforge_core::status::Status;
use lunforge_core::testing::Send;
use lunforge_core::tmf::{Function, Response};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;
use parking_lot::Mutex;

/// What a [`Bad`] store does with the next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Works,
    Keeps,
    Drops,
    Panics,
    PanicsAfterKeeping,
    LosesTheBuffer,
    AnswersWrongly,
    KeepsAndAnswers,
}

/// A store that does as told. Kept operations wait for [`Bad::release`], which carries them out if they are not fenced.
struct Bad {
    ram: RamStore,
    does: Mutex<Does>,
    kept: Mutex<Vec<StoreRequest>>,
    epoch: AtomicU64,
    can_fence: bool,
}

impl Bad {
    fn new(does: Does, can_fence: bool) -> Arc<Self> {
        let (does, kept) = (Mutex::new(does), Mutex::default());
        Arc::new(Self {
            ram: RamStore::new(MIB),
            does,
            kept,
            epoch: AtomicU64::new(0),
            can_fence,
        })
    }

    fn set(&self, does: Does) {
        *self.does.lock() = does;
    }

    fn release(&self) {
        let kept = std::mem::take(&mut *self.kept.lock());
        for mut request in kept {
            // Done by hand with the store below: a late effect, unless refused.
            let epoch = self.epoch.load(Ordering::Acquire);
            let result = if self.can_fence && request.stamp().epoch != epoch {
                Err(StoreError::Fenced)
            } else if let Some(StoreOp::Write {
                offset, buf, range, ..
            }) = request.op_mut()
            {
                let copy =
                    lunforge_core::buffer::IoBuf::from_slice(&buf.to_vec(range.clone())).unwrap();
                let len = copy.len();
                let op = StoreOp::Write {
                    offset: *offset,
                    buf: copy,
                    range: 0..len,
                    fua: false,
                };
                submit_with(
                    &self.ram,
                    op,
                    Stamp {
                        generation: 1,
                        epoch,
                    },
                    |result, _| assert!(result.is_ok()),
                );
                Ok(Answer::Done)
            } else {
                Ok(Answer::Done)
            };
            request.finish(result);
        }
    }
}

impl BackingStore for Bad {
    fn limits(&self) -> Limits {
        self.ram.limits()
    }

    fn capabilities(&self) -> Capabilities {
        self.ram.capabilities()
    }

    fn submit(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let does = *self.does.lock();
        match does {
            Does::Works => self.ram.submit(op, cx),
            Does::Keeps => {
                let (request, kept) = cx.keep(op);
                self.kept.lock().push(request);
                Submitted::Pending(kept)
            }
            Does::Drops => Submitted::Pending(cx.keep(op).1),
            Does::Panics => panic!("the store panics on purpose"),
            Does::PanicsAfterKeeping => {
                let _request = cx.keep(op);
                panic!("the store panics on purpose")
            }
            Does::LosesTheBuffer => Submitted::Done(StoreReply {
                result: Ok(Answer::Done),
                buf: None,
            }),
            Does::AnswersWrongly => op.done(Ok(Answer::Allocation(Allocation {
                mapped: true,
                len: 0,
            }))),
            Does::KeepsAndAnswers => {
                let (request, _) = cx.keep(op);
                request.finish(Err(StoreError::Transient));
                Submitted::Done(StoreReply {
                    result: Ok(Answer::Done),
                    buf: None,
                })
            }
        }
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        if !self.can_fence {
            return None;
        }
        self.epoch.store(epoch, Ordering::Release);
        self.ram.renew(epoch);
        Some(0)
    }
}

fn write(lba: u32, byte: u8) -> Send {
    Send {
        cdb: cdb10(0x2A, 0, lba, 1).into(),
        data_out: vec![byte; 512],
        ..Send::default()
    }
}

#[test]
fn n60_a_store_that_breaks_its_word_fails_the_command_and_nothing_else() {
    let store = Bad::new(Does::Works, true);
    let mut rig = over(store.clone());
    for does in [
        Does::Drops,
        Does::Panics,
        Does::PanicsAfterKeeping,
        Does::KeepsAndAnswers,
    ] {
        for cdb in [
            &cdb10(0x28, 0, 0, 1)[..],
            &cdb10(0x2A, 0, 0, 1),
            &cdb10(0x2F, 0, 0, 1),
            &cdb10(0x41, 0, 0, 1),
        ] {
            store.set(does);
            let reply = rig.run(cdb, &[0; 512], 512);
            assert_ne!(reply.status, Status::Good, "{does:?} {cdb:02x?}");
            store.set(Does::Works);
            rig.good(cdb, &[0; 512], 512);
        }
    }
    store.set(Does::LosesTheBuffer);
    rig.fails(&cdb10(0x28, 0, 0, 1), &[], 512, (4, 0x44, 0));
    rig.fails(&cdb10(0x2F, 0, 0, 1), &[], 0, (4, 0x44, 0));
    store.set(Does::Works);
    rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
}

#[test]
fn n60_a_zero_length_allocation_answer_does_not_loop() {
    let store = Bad::new(Does::Works, true);
    let mut rig = over(store.clone());
    store.set(Does::AnswersWrongly);
    let started = Instant::now();
    rig.run(&cdb16(0x9E, 0x12, 0, 4096), &[], 4096);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_late_answer_completes_the_command_from_another_thread() {
    let store = Bad::new(Does::Keeps, true);
    let mut rig = over(store.clone());
    let tag = rig.bed.send(rig.session, write(5, 7));
    rig.bed.poll();
    assert!(rig.bed.ended(rig.session, tag).is_none());
    let other = store.clone();
    std::thread::spawn(move || other.release()).join().unwrap();
    assert_eq!(rig.bed.wait(rig.session, tag).status, Status::Good);
    store.set(Does::Works);
    assert_eq!(rig.good(&cdb10(0x28, 0, 5, 1), &[], 512), [7; 512]);
}

#[test]
fn n52_a_write_that_was_given_up_never_lands_after_the_reset_was_answered() {
    let store = Bad::new(Does::Keeps, true);
    let mut rig = over(store.clone());
    let tag = rig.bed.send(rig.session, write(5, 7));
    rig.bed.poll();
    let reset = rig
        .bed
        .begin_tmf(rig.session, 0, Function::LogicalUnitReset);
    let mut answer = None;
    for _ in 0..200 {
        rig.bed.advance(Duration::from_millis(500));
        rig.bed.poll();
        answer = answer.or(rig.bed.tmf_ended(rig.session, reset));
    }
    assert!(matches!(answer, Some(Response::Complete)), "{answer:?}");
    store.set(Does::Works);
    // Whatever unit attention the reset left.
    rig.run(&[0, 0, 0, 0, 0, 0], &[], 0);
    rig.good(&cdb10(0x2A, 0, 5, 1), &[8; 512], 0);
    store.release();
    rig.bed.poll();
    assert_eq!(
        rig.good(&cdb10(0x28, 0, 5, 1), &[], 512),
        [8; 512],
        "the old write was refused"
    );
    assert!(
        rig.bed
            .ended(rig.session, tag)
            .is_none_or(|reply| !reply.responded)
    );
}

#[test]
fn fence_promises_only_what_the_store_can_keep() {
    let can = Vdisk::store(Bad::new(Does::Works, true))
        .serial("a")
        .open()
        .unwrap();
    assert_eq!(can.fence(), Fence::Fenced);
    let cannot = Vdisk::store(Bad::new(Does::Works, false))
        .serial("b")
        .open()
        .unwrap();
    assert_eq!(cannot.fence(), Fence::Unfenced);
    let dir = tempfile::tempdir().unwrap();
    let file = Vdisk::file(dir.path().join("d")).size(MIB).open().unwrap();
    for _ in 0..3 {
        assert_eq!(file.fence(), Fence::Fenced, "nothing is inside");
    }
    let mut rig = Rig::new(file);
    rig.good(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0);
}

#[test]
fn a_long_command_stops_between_two_pieces_when_it_is_fenced() {
    let store = Bad::new(Does::Keeps, true);
    let disk = Vdisk::store(store.clone())
        .serial("a")
        .block_size(512)
        .thin(true)
        .open()
        .unwrap();
    let mut rig = Rig::new(disk.clone());
    let list: Vec<u8> = [
        [0, 38].as_slice(),
        &[0, 32],
        &[0; 4],
        &[0; 8],
        &[0, 0, 0, 8, 0, 0, 0, 0],
        &[0; 7],
        &[64],
        &[0, 0, 0, 8, 0, 0, 0, 0],
    ]
    .concat();
    let tag = rig.bed.send(
        rig.session,
        Send {
            cdb: cdb10(0x42, 0, 0, 40).into(),
            data_out: list,
            ..Send::default()
        },
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.kept.lock().is_empty() {
        rig.bed.poll();
        assert!(Instant::now() < deadline);
    }
    assert_eq!(disk.fence(), Fence::Fenced);
    store.release();
    let reply = rig.bed.wait(rig.session, tag);
    assert_eq!(reply.asc(), Some((0x2F, 2)));
    assert!(
        store.kept.lock().is_empty(),
        "the second extent was not submitted"
    );
    store.set(Does::Works);
}

#[test]
fn deactivate_and_activate_hand_the_file_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    let node_a = Vdisk::file(&path)
        .size(MIB)
        .block_size(512)
        .serial("s")
        .open()
        .unwrap();
    let node_b = Vdisk::file(&path)
        .block_size(512)
        .serial("s")
        .active(false)
        .open()
        .unwrap();
    let (mut a, mut b) = (Rig::new(node_a), Rig::new(node_b));
    b.fails(&cdb10(0x28, 0, 0, 1), &[], 512, (2, 4, 0));
    assert!(b.disk.activate(2).is_err(), "the file has an owner");
    a.good(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0);
    a.disk.deactivate(Duration::from_secs(5)).unwrap();
    a.fails(&cdb10(0x2A, 0, 0, 1), &[2; 512], 0, (2, 4, 0));
    b.disk.activate(2).unwrap();
    assert_eq!(b.good(&cdb10(0x28, 0, 0, 1), &[], 512), [1; 512]);
    b.good(&cdb10(0x2A, 0, 0, 1), &[3; 512], 0);
    assert!(a.disk.activate(3).is_err());
    b.disk.deactivate(Duration::from_secs(5)).unwrap();
    a.disk.activate(3).unwrap();
    assert_eq!(a.good(&cdb10(0x28, 0, 0, 1), &[], 512), [3; 512]);
}

#[test]
fn a_hanging_store_holds_up_its_own_unit_only() {
    let store = Bad::new(Does::Keeps, false);
    let mut stuck = over(store.clone());
    let mut fine = over(Arc::new(RamStore::new(MIB)));
    for n in 0..8 {
        stuck.bed.send(stuck.session, write(n, 1));
    }
    stuck.bed.poll();
    fine.good(&cdb10(0x2A, 0, 0, 1), &[1; 512], 0);
    store.set(Does::Works);
    store.release();
}

#[test]
fn n60_a_store_that_panics_at_a_flush_that_nobody_waits_for_does_not_end_the_shard() {
    let store = Arc::new(Bad {
        ram: RamStore::new(MIB).volatile_cache(true),
        does: Mutex::new(Does::Works),
        kept: Mutex::default(),
        epoch: AtomicU64::new(0),
        can_fence: true,
    });
    let mut rig = over(store.clone());
    store.set(Does::Panics);
    rig.good(&cdb10(0x35, 0x02, 0, 0), &[], 0);
    store.set(Does::Works);
    rig.good(&cdb10(0x35, 0x02, 0, 0), &[], 0);
    rig.good(&cdb10(0x28, 0, 0, 1), &[], 512);
}
