//! The system calls of a serving process, why it makes them, and those that only an intruder would make.
//!
//! Everything that a thread does after the start: shards, the io_uring reaper and the threads that replace it, the
//! offload pool. What the main thread did before (bind ports, make rings, open files) is not in the list. The table is
//! grouped by reason; within a group it is sorted. A call in neither table fails with ENOSYS.
//!
//! For its paths `openat` relies on Landlock: seccomp sees pointers, not names.

/// A reason and the calls that it explains.
pub(super) struct Group {
    /// Why.
    pub(super) reason: &'static str,
    /// Sorted by name.
    pub(super) calls: &'static [Call],
}

/// A system call.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) number: i64,
    pub(super) only: Only,
}

/// With which arguments a call is meant.
#[derive(Clone, Copy)]
pub(super) enum Only {
    /// Any.
    Always,
    /// The low 32 bits of this argument are one of the values.
    Argument(u8, &'static [u64]),
    /// These flags are set in this argument.
    Flags(u8, &'static [u64; 1]),
}

macro_rules! calls {
    ($($(#[$cfg:meta])? $name:ident $(= $only:expr)?),* $(,)?) => {
        &[$($(#[$cfg])? Call {
            name: stringify!($name),
            number: libc::$name,
            only: calls!(@only $($only)?),
        }),*]
    };
    (@only) => { Only::Always };
    (@only $only:expr) => { $only };
}

/// A thread, and nothing that is more: clone(2) for a process is not allowed. The C library tries clone3(2) first, whose
/// flags no filter can see; it is answered ENOSYS.
const THREAD: Only = Only::Flags(0, &[libc::CLONE_THREAD as u64]);
/// Non-blocking sockets (FIONBIO) are all that is asked for by ioctl(2).
const NON_BLOCKING: Only = Only::Argument(1, &[libc::FIONBIO]);
/// What RDMA devices are asked by ioctl(2): RDMA_VERBS_IOCTL, `_IOWR(0x1b, 1, struct ib_uverbs_ioctl_hdr)`.
const VERBS: Only = Only::Argument(1, &[0xC018_1B01]);
/// Sockets of TCP, and the kernel's list of addresses.
const FAMILIES: Only = Only::Argument(
    0,
    &[
        libc::AF_INET as u64,
        libc::AF_INET6 as u64,
        libc::AF_NETLINK as u64,
    ],
);
/// The name of a thread, and of a mapping (some C libraries).
const NAMES: Only = Only::Argument(0, &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64]);

/// What may be called.
pub(super) static ALLOWED: &[Group] = &[
    Group {
        reason: "data of LUNs, from shards and from the threads that may block",
        calls: calls![
            SYS_copy_file_range,
            SYS_fadvise64,
            SYS_fallocate,
            SYS_fdatasync,
            SYS_fsync,
            SYS_ftruncate,
            SYS_lseek,
            SYS_pread64,
            SYS_preadv,
            SYS_preadv2,
            SYS_pwrite64,
            SYS_pwritev,
            SYS_pwritev2,
        ],
    },
    Group {
        reason: "data of LUNs through a ring that exists: neither io_uring_setup nor io_uring_register is here",
        calls: calls![SYS_io_uring_enter],
    },
    Group {
        reason: "files of --state and --record, and files that are opened anew; Landlock limits their paths",
        calls: calls![
            SYS_close,
            SYS_fcntl,
            SYS_flock,
            SYS_fstat,
            SYS_fstatfs,
            SYS_getdents64,
            SYS_newfstatat,
            SYS_openat,
            #[cfg(target_arch = "x86_64")]
            SYS_rename,
            SYS_renameat,
            SYS_renameat2,
            #[cfg(target_arch = "x86_64")]
            SYS_stat,
            SYS_statfs,
            SYS_statx,
            #[cfg(target_arch = "x86_64")]
            SYS_unlink,
            SYS_unlinkat,
        ],
    },
    Group {
        reason: "connections of initiators; socket, bind, listen and connect are not here",
        calls: calls![
            SYS_accept4,
            SYS_getpeername,
            SYS_getsockname,
            SYS_getsockopt,
            SYS_ioctl = NON_BLOCKING,
            SYS_recvfrom,
            SYS_recvmsg,
            SYS_sendmsg,
            SYS_sendto,
            SYS_setsockopt,
            SYS_shutdown,
        ],
    },
    Group {
        reason: "waiting for any of them, and waking a shard; reads and writes of wake-up descriptors, logs",
        calls: calls![
            SYS_epoll_create1,
            SYS_epoll_ctl,
            SYS_epoll_pwait,
            #[cfg(target_arch = "x86_64")]
            SYS_epoll_wait,
            SYS_eventfd2,
            #[cfg(target_arch = "x86_64")]
            SYS_poll,
            SYS_ppoll,
            SYS_read,
            SYS_readv,
            SYS_write,
            SYS_writev,
        ],
    },
    Group {
        reason: "memory",
        calls: calls![
            SYS_brk,
            SYS_madvise,
            SYS_mmap,
            SYS_mprotect,
            SYS_mremap,
            SYS_munmap,
        ],
    },
    Group {
        reason: "threads: starting, naming, locking and ending them",
        calls: calls![
            SYS_clone = THREAD,
            SYS_exit,
            SYS_futex,
            SYS_getpid,
            SYS_gettid,
            SYS_membarrier,
            SYS_prctl = NAMES,
            SYS_rseq,
            SYS_sched_getaffinity,
            SYS_sched_yield,
            SYS_set_robust_list,
            SYS_sigaltstack,
        ],
    },
    Group {
        reason: "time and randomness (CHAP challenges)",
        calls: calls![
            SYS_clock_getres,
            SYS_clock_gettime,
            SYS_clock_nanosleep,
            SYS_getrandom,
            SYS_gettimeofday,
            SYS_nanosleep,
        ],
    },
    Group {
        reason: "signals that end the process, and its end; tgkill is how abort(3) works, Landlock keeps it inside",
        calls: calls![
            SYS_exit_group,
            SYS_restart_syscall,
            SYS_rt_sigaction,
            SYS_rt_sigprocmask,
            SYS_rt_sigreturn,
            SYS_tgkill,
        ],
    },
];

/// What may be called besides where what is served changes.
pub(super) static CHANGES: &[Group] = &[
    Group {
        reason: "portals of a driver that is switched on later; Landlock limits their ports. Which addresses there are",
        calls: calls![SYS_bind, SYS_listen, SYS_socket = FAMILIES],
    },
    Group {
        reason: "rings of devices that are made later, each restricted to reads, writes and flushes",
        calls: calls![SYS_io_uring_register, SYS_io_uring_setup],
    },
    Group {
        reason: "files of devices that are made later, and folders of --state, which are there; Landlock limits their paths",
        calls: calls![
            SYS_faccessat,
            SYS_faccessat2,
            #[cfg(target_arch = "x86_64")]
            SYS_mkdir,
            SYS_mkdirat,
            #[cfg(target_arch = "x86_64")]
            SYS_open,
        ],
    },
    Group {
        reason: "a new configuration file gets mode and owner of the old one; files are found where links lead",
        calls: calls![
            SYS_fchmod,
            SYS_fchown,
            #[cfg(target_arch = "x86_64")]
            SYS_lstat,
            #[cfg(target_arch = "x86_64")]
            SYS_readlink,
            SYS_readlinkat,
        ],
    },
];

/// What may be called besides where there is RDMA. Commands of RDMA/CM are written, queues are mapped.
pub(super) static RDMA: &[Group] = &[Group {
    reason: "commands to RDMA devices; Landlock limits which devices are opened",
    calls: calls![SYS_ioctl = VERBS],
}];

/// What ends the process at once: nothing here falls back to another call, and no fault of ours makes them.
pub(super) static DEADLY: &[Group] = &[
    Group {
        reason: "other programs and other processes",
        calls: calls![
            SYS_execve,
            SYS_execveat,
            SYS_kcmp,
            SYS_pidfd_getfd,
            SYS_process_vm_readv,
            SYS_process_vm_writev,
            SYS_ptrace,
        ],
    },
    Group {
        reason: "becoming somebody else",
        calls: calls![
            SYS_capset,
            SYS_setfsgid,
            SYS_setfsuid,
            SYS_setgid,
            SYS_setgroups,
            SYS_setns,
            SYS_setregid,
            SYS_setresgid,
            SYS_setresuid,
            SYS_setreuid,
            SYS_setuid,
            SYS_unshare,
        ],
    },
    Group {
        reason: "the kernel and the machine",
        calls: calls![
            SYS_add_key,
            SYS_bpf,
            SYS_chroot,
            SYS_delete_module,
            SYS_finit_module,
            SYS_fsmount,
            SYS_fsopen,
            SYS_init_module,
            SYS_kexec_load,
            SYS_keyctl,
            SYS_mount,
            SYS_move_mount,
            SYS_open_by_handle_at,
            SYS_open_tree,
            SYS_perf_event_open,
            SYS_pivot_root,
            SYS_reboot,
            SYS_request_key,
            SYS_swapoff,
            SYS_swapon,
            SYS_umount2,
            SYS_userfaultfd,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_call_stands_once_sorted_and_with_a_reason() {
        let mut seen = BTreeSet::new();
        for group in ALLOWED.iter().chain(CHANGES).chain(DEADLY) {
            assert!(!group.reason.is_empty());
            assert!(
                group.calls.is_sorted_by_key(|call| call.name),
                "{}",
                group.reason
            );
            for call in group.calls {
                assert!(seen.insert(call.number), "{} is there twice", call.name);
            }
        }
    }

    #[test]
    fn rdma_adds_arguments_of_calls_that_are_limited_anyway_and_no_call() {
        let limited = |call: &Call| !matches!(call.only, Only::Always);
        for call in RDMA.iter().flat_map(|group| group.calls) {
            let mut calls = ALLOWED.iter().flat_map(|group| group.calls);
            let known = calls.find(|known| known.number == call.number);
            assert!(limited(call) && known.is_some_and(limited), "{}", call.name);
        }
    }
}
