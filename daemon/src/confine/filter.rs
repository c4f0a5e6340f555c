//! seccomp: the table of system calls as filters in the kernel.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::ConfineError;
use super::syscalls::{ALLOWED, CHANGES, Call, DEADLY, Group, Only, RDMA};

/// Answer to a call that is in neither list. Not EPERM: the C library takes ENOSYS as a kernel too old for the call and
/// falls back to an older one, so that a newer C library does not break the program.
const REFUSED: u32 = libc::ENOSYS as u32;

fn failed(error: impl std::fmt::Display) -> ConfineError {
    ConfineError::Seccomp(error.to_string())
}

/// What a process may call that changes what it serves, or does not, and that has RDMA, or not.
fn listed(changes: bool, rdma: bool) -> impl Iterator<Item = &'static Group> {
    let changes = if changes { CHANGES } else { &[] };
    let rdma = if rdma { RDMA } else { &[] };
    ALLOWED.iter().chain(changes).chain(rdma)
}

/// The filters, in the order in which they are installed.
pub(super) fn compile(changes: bool, rdma: bool) -> Result<[BpfProgram; 2], ConfineError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(failed)?;
    let allowed = listed(changes, rdma).flat_map(|group| group.calls);
    let deadly = DEADLY.iter().flat_map(|group| group.calls);
    let lists: [(Rules, _, _); 2] = [
        (
            rules(deadly)?,
            SeccompAction::Allow,
            SeccompAction::KillProcess,
        ),
        (
            rules(allowed)?,
            SeccompAction::Errno(REFUSED),
            SeccompAction::Allow,
        ),
    ];
    let program = |(rules, other, listed)| {
        SeccompFilter::new(rules, other, listed, arch)
            .and_then(BpfProgram::try_from)
            .map_err(failed)
    };
    let [deadly, allowed] = lists.map(program);
    Ok([deadly?, allowed?])
}

/// Filters the calls of all threads. Sets no_new_privs.
pub(super) fn install(changes: bool, rdma: bool) -> Result<(), ConfineError> {
    for group in listed(changes, rdma) {
        let names: Vec<_> = group.calls.iter().map(|call| call.name).collect();
        tracing::debug!(calls = %names.join(" "), because = group.reason, "system calls allowed");
    }
    for program in compile(changes, rdma)? {
        seccompiler::apply_filter_all_threads(&program).map_err(failed)?;
    }
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules<'a>(calls: impl Iterator<Item = &'a Call>) -> Result<Rules, ConfineError> {
    let mut rules = Rules::new();
    for call in calls {
        // One that is in two groups is meant with the arguments of either.
        let rule = rules.entry(call.number).or_default();
        rule.extend(conditions(call.only)?);
    }
    Ok(rules)
}

/// No rules mean any arguments; else one of them has to fit.
fn conditions(only: Only) -> Result<Vec<SeccompRule>, ConfineError> {
    let (argument, operator, values) = match only {
        Only::Always => return Ok(Vec::new()),
        Only::Argument(argument, values) => (argument, None, values),
        Only::Flags(argument, flags) => {
            (argument, Some(SeccompCmpOp::MaskedEq(flags[0])), &flags[..])
        }
    };
    values
        .iter()
        .map(|&value| {
            let operator = operator.clone().unwrap_or(SeccompCmpOp::Eq);
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
                    .map_err(failed)?;
            SeccompRule::new(vec![condition]).map_err(failed)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdma_widens_what_ioctl_may_ask_and_nothing_else() {
        let of = |rdma| rules(listed(false, rdma).flat_map(|group| group.calls)).unwrap();
        let (without, mut with) = (of(false), of(true));
        let ioctl = with.get_mut(&libc::SYS_ioctl).unwrap();
        assert_eq!(ioctl.len(), 2);
        ioctl.pop();
        assert_eq!(without, with);
    }
}
