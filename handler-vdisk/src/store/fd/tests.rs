use super::*;
use crate::store::{Answer, Submitter, Waiter};

#[test]
fn after_a_flush_that_failed_none_succeeds_until_the_device_is_opened_anew() {
    // fdatasync of a pipe fails, and is told so each time; only what is remembered counts here.
    let engine = FdEngine::new("t", Engine::Threads, Policy::default());
    let open = || {
        let (witness, pipe) = std::io::pipe().unwrap();
        OpenFd::new(pipe.into(), None, witness.into(), 1, Stamp::from(1), 0)
    };
    let device = open();
    assert_eq!(device.stable(Ok(Answer::Done)), Ok(Answer::Done));
    engine.install(device);
    let flush = || {
        let mut nobody = Nobody;
        let cx = &mut StoreCx::new(&mut nobody, Stamp::from(1), true);
        match engine.submit(StoreOp::Flush, cx) {
            Submitted::Done(reply) => reply.result,
            Submitted::Pending(_) => unreachable!("the caller may block"),
        }
    };
    assert_eq!(flush(), Err(StoreError::Io(rustix::io::Errno::INVAL)));
    assert_eq!(flush(), Err(StoreError::Lost));
    engine
        .with_open(|open| {
            assert_eq!(open.stable(Ok(Answer::Done)), Err(StoreError::Lost));
            Ok(())
        })
        .unwrap();
    engine.install(open());
    assert_eq!(flush(), Err(StoreError::Io(rustix::io::Errno::INVAL)));
}

#[test]
fn whatever_a_device_says_of_a_flush_is_remembered() {
    use rustix::io::Errno;
    let device = || {
        let (witness, pipe) = std::io::pipe().unwrap();
        OpenFd::new(pipe.into(), None, witness.into(), 1, Stamp::from(1), 0)
    };
    for errno in [
        Errno::IO,
        Errno::NOSPC,
        Errno::BADE,
        Errno::STALE,
        Errno::NODEV,
        Errno::ROFS,
        Errno::TIMEDOUT,
        Errno::NOLINK,
    ] {
        let device = device();
        let failed = Err(StoreError::of_flush(errno));
        assert_eq!(device.stable(failed), failed, "{errno}");
        let next = device.stable(Ok(Answer::Done));
        assert_eq!(next, Err(StoreError::Lost), "{errno}");
    }
    // Not begun for want of memory: what was written is as it was.
    let device = device();
    let failed = Err(StoreError::of_flush(Errno::NOMEM));
    assert_eq!(device.stable(failed), failed);
    assert!(!device.is_lost());
}

/// The write and the sync of a stable write fail by the same number.
#[test]
fn n54_a_write_without_space_loses_nothing_unless_write_back_failed_or_nobody_knows() {
    let full = Err(StoreError::NoSpace);
    let device = |witness| {
        let (_, pipe) = std::io::pipe().unwrap();
        OpenFd::new(pipe.into(), None, witness, 1, Stamp::from(1), 0)
    };
    let device_of_good_writes = device(tempfile::tempfile().unwrap().into());
    assert_eq!(device_of_good_writes.stable_write(full), full);
    assert!(!device_of_good_writes.is_lost());
    // An fdatasync that fails stands for one that is told of a write-back.
    let device_that_lost = device(std::io::pipe().unwrap().0.into());
    assert_eq!(device_that_lost.stable_write(full), Err(StoreError::Lost));
    assert!(device_that_lost.is_lost());
    // That it could not be asked says nothing good.
    let device = device(tempfile::tempfile().unwrap().into());
    assert_eq!(
        device.without_space(Err(StoreError::Transient)),
        Err(StoreError::Lost)
    );
    assert!(device.is_lost());
}

struct Nobody;

impl Submitter for Nobody {
    fn waiter(&mut self) -> Box<dyn Waiter> {
        crate::drive::nobody()
    }
}
