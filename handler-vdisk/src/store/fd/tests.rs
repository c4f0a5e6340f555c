use super::*;
use crate::store::{Answer, Submitter, Waiter};

#[test]
fn after_a_flush_that_failed_none_succeeds_until_the_device_is_opened_anew() {
    // fdatasync of a pipe fails, and is told so each time; only what is remembered counts here.
    let engine = FdEngine::new("t", Engine::Threads, Policy::default());
    let open = || {
        let (_, pipe) = std::io::pipe().unwrap();
        OpenFd::new(pipe.into(), None, 1, Stamp::from(1), 0)
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
        let (_, pipe) = std::io::pipe().unwrap();
        OpenFd::new(pipe.into(), None, 1, Stamp::from(1), 0)
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

struct Nobody;

impl Submitter for Nobody {
    fn waiter(&mut self) -> Box<dyn Waiter> {
        crate::drive::nobody()
    }
}
