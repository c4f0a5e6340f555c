use std::os::fd::AsRawFd;

use io_uring::types;

use super::*;

#[test]
fn a_ring_opens_no_files() {
    let (Ok((mut ring, _)), path) = (restricted(), c"/dev/null") else {
        return;
    };
    let dir = types::Fd(rustix::fs::CWD.as_raw_fd());
    let entry = opcode::OpenAt::new(dir, path.as_ptr()).build();
    // SAFETY: the path is static.
    unsafe { ring.submission().push(&entry) }.unwrap();
    ring.submit_and_wait(1).unwrap();
    let answer = ring.completion().next().unwrap();
    assert_eq!(answer.result(), -Errno::ACCESS.raw_os_error());
}

#[test]
fn a_restricted_ring_has_asked_for_its_workers() {
    let Ok((_ring, workers)) = restricted() else {
        return;
    };
    match workers.map_err(|error| error.raw_os_error()) {
        // Kernels before 5.15 do not know the question.
        Ok(()) => {}
        Err(error) => assert_eq!(error, Some(Errno::INVAL.raw_os_error())),
    }
}
