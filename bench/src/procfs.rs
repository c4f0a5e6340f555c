//! CPU time and memory of processes, read from /proc.

use std::fs;

/// Kernel ticks per second in /proc/stat (USER_HZ; 100 on every Linux this runs on).
const NS_PER_TICK: u64 = 1_000_000_000 / 100;

/// A point in time of a set of processes and of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Run time of all threads of the processes, ns.
    pub run_ns: u64,
    /// Time in which a thread of them could have run and had no processor, ns.
    pub wait_ns: u64,
    /// Resident memory of the processes, huge pages included, KiB.
    pub rss_kib: u64,
    /// Threads of the processes.
    pub threads: u64,
    /// Busy time of the whole machine, ns.
    pub machine_busy_ns: u64,
    /// Time taken by the hypervisor, ns.
    pub steal_ns: u64,
}

/// Why /proc did not tell.
#[derive(Debug, thiserror::Error)]
#[error("process {pid} cannot be watched: {source}")]
pub struct NoProcess {
    pid: u32,
    source: std::io::Error,
}

impl Usage {
    /// Reads the present state; threads that end meanwhile are left out.
    pub fn sample(pids: &[u32]) -> Result<Self, NoProcess> {
        let mut usage = Self::default();
        for &pid in pids {
            usage.add(pid).map_err(|source| NoProcess { pid, source })?;
        }
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        (usage.machine_busy_ns, usage.steal_ns) = machine(&stat);
        Ok(usage)
    }

    fn add(&mut self, pid: u32) -> std::io::Result<()> {
        for tid in threads(pid)? {
            let path = format!("/proc/{pid}/task/{tid}/schedstat");
            if let Ok(text) = fs::read_to_string(path) {
                let (run, wait) = schedule(&text).unwrap_or_default();
                self.run_ns += run;
                self.wait_ns += wait;
                self.threads += 1;
            }
        }
        self.rss_kib += resident(&fs::read_to_string(format!("/proc/{pid}/status"))?);
        Ok(())
    }

    /// What was used between an earlier sample and this one; memory and threads are this one's.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
            machine_busy_ns: self.machine_busy_ns.saturating_sub(earlier.machine_busy_ns),
            steal_ns: self.steal_ns.saturating_sub(earlier.steal_ns),
            ..*self
        }
    }
}

/// Thread ids of a process.
pub fn threads(pid: u32) -> std::io::Result<Vec<u32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// How many of a process's threads are the kernel's own, at work for its io_urings: they come and go as the kernel likes.
pub fn kernel_workers(pid: u32) -> std::io::Result<u64> {
    let named = |tid: &u32| fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"));
    let theirs = |tid: &u32| named(tid).is_ok_and(|name| name.starts_with("iou-"));
    Ok(threads(pid)?.iter().filter(|tid| theirs(tid)).count() as u64)
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> std::io::Result<u64> {
    let path = format!("/proc/{pid}/fd");
    // Linux 6.2 and later say the number as the folder's size; before that it is 0.
    match fs::metadata(&path)?.len() {
        0 => Ok(fs::read_dir(path)?.count() as u64),
        n => Ok(n),
    }
}

/// First two numbers of a schedstat file: time on a processor and time waiting for one, ns.
fn schedule(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// VmRSS and HugetlbPages of a status file, KiB.
fn resident(status: &str) -> u64 {
    let wanted = |line: &&str| line.starts_with("VmRSS:") || line.starts_with("HugetlbPages:");
    let kib = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
    status.lines().filter(wanted).filter_map(kib).sum()
}

/// Busy and stolen time of all CPUs, ns: user, nice, system, irq, softirq are busy.
fn machine(stat: &str) -> (u64, u64) {
    let line = stat.lines().next().unwrap_or("");
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    let field = |i: usize| ticks.get(i).copied().unwrap_or(0) * NS_PER_TICK;
    ([0, 1, 2, 5, 6].into_iter().map(field).sum(), field(7))
}

/// CPU time of this process, ns.
pub fn own_cpu_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_watched() {
        let before = Usage::sample(&[std::process::id()]).unwrap();
        assert!(before.rss_kib > 0 && before.threads > 0);
        assert!(Usage::sample(&[std::process::id()]).unwrap().run_ns >= before.run_ns);
    }

    #[test]
    fn an_open_file_is_one_descriptor_more() {
        let before = descriptors(std::process::id()).unwrap();
        let files: Vec<_> = (0..50)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        // Tests beside this one open and close some of their own.
        assert!(descriptors(std::process::id()).unwrap() > before + 25);
        drop(files);
    }

    #[test]
    fn missing_process_is_an_error_that_names_it() {
        let error = Usage::sample(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }

    #[test]
    fn files_are_read_by_field() {
        assert_eq!(schedule("123 456 7\n"), Some((123, 456)));
        assert_eq!(
            resident("VmPeak:\t 9 kB\nVmRSS:\t 100 kB\nHugetlbPages:\t 20 kB\n"),
            120
        );
        assert_eq!(
            machine("cpu 1 2 3 4 5 6 7 8 9 10\n"),
            (190_000_000, 80_000_000)
        );
        assert_eq!(machine(""), (0, 0));
    }
}
