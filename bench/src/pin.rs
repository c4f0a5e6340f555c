//! CPU affinity of the generator's threads and of the targets.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::procfs;

fn set(cpu: usize) -> std::io::Result<CpuSet> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(std::io::Error::other("there is no such CPU"));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(set)
}

/// Pins the calling thread.
pub fn this_thread(cpu: usize) -> std::io::Result<()> {
    Ok(sched_setaffinity(None, &set(cpu)?)?)
}

/// Pins every thread a process has now.
pub fn process(pid: u32, cpu: usize) -> std::io::Result<()> {
    let set = set(cpu)?;
    for tid in procfs::threads(pid)? {
        let tid = i32::try_from(tid).ok().and_then(Pid::from_raw);
        match sched_setaffinity(Some(tid.ok_or(std::io::ErrorKind::NotFound)?), &set) {
            // A thread may end between listing and pinning.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn impossible_cpu_is_an_error_not_a_panic() {
        assert!(super::this_thread(usize::MAX).is_err());
        assert!(super::this_thread(1000).is_err());
    }
}
