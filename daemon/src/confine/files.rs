//! Landlock: no file outside the reach, no new TCP port or connection, no signal to others.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

use super::{ConfineError, Reach, Reachable};

/// All of what is asked for: files since 1 (Linux 5.13), truncation 3, TCP 4, device ioctls 5, signals and abstract
/// UNIX sockets 6 (Linux 6.12).
const WANTED: ABI = ABI::V6;

/// Where the kernel tells of block devices.
const DEVICES_KNOWN: &str = "/sys/devices";

/// Where RDMA devices are, and RDMA/CM.
const RDMA: &str = "/dev/infiniband";

/// Where the kernel tells of RDMA devices.
const RDMA_KNOWN: [&str; 3] = [
    DEVICES_KNOWN,
    "/sys/class/infiniband",
    "/sys/class/infiniband_verbs",
];

/// What this kernel does not have of [`WANTED`]. Restricts nothing.
pub(super) fn missing() -> Option<String> {
    rules(CompatLevel::HardRequirement).err().map(|_| {
        "this kernel has no Landlock, or not all of it: files, TCP ports, devices and signals need Linux 6.12 and \"landlock\" in its lsm= list"
            .to_owned()
    })
}

fn rules(level: CompatLevel) -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(WANTED))?
        // Portals that are there are bound already.
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()
}

/// Restricts the calling thread. Tells what could not be had.
pub(super) fn restrict(reach: &Reach) -> Result<Option<String>, ConfineError> {
    let mut rules = rules(CompatLevel::BestEffort)?;
    let opened = |path: &std::path::PathBuf| {
        PathFd::new(path).map_err(|source| ConfineError::Path {
            path: path.clone(),
            source,
        })
    };
    for file in &reach.files {
        let fd = opened(&file.path)?;
        rules = rules.add_rule(PathBeneath::new(fd, of_file(file)))?;
    }
    for folder in &reach.folders {
        rules = rules.add_rule(PathBeneath::new(opened(folder)?, of_folder()))?;
    }
    for place in &reach.places {
        let fd = opened(place)?;
        let access = if place.is_dir() {
            in_place() | AccessFs::ReadDir
        } else {
            in_place()
        };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    for &port in &reach.ports {
        rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    let mut known = Vec::new();
    if reach.changes {
        known.push((DEVICES_KNOWN, AccessFs::ReadFile | AccessFs::ReadDir));
    }
    if reach.rdma {
        let told = |place| (place, AccessFs::ReadFile | AccessFs::ReadDir);
        known.extend(RDMA_KNOWN.map(told));
        known.push((RDMA, of_devices()));
    }
    for (place, access) in known {
        // What is not there cannot be found either.
        if let Ok(fd) = PathFd::new(place) {
            rules = rules.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    let status = rules.restrict_self()?;
    let whole = status.ruleset == RulesetStatus::FullyEnforced;
    Ok((!whole).then(|| missing().unwrap_or_else(|| "Landlock is not fully in force".to_owned())))
}

fn of_file(file: &Reachable) -> BitFlags<AccessFs> {
    let mut access = BitFlags::from(AccessFs::ReadFile);
    if file.writable {
        access |= AccessFs::WriteFile | AccessFs::Truncate;
    }
    access
}

fn in_place() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate
}

fn of_devices() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev
}

fn of_folder() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        // To make a change of the folder durable it is opened itself.
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
}
