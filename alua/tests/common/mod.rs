//! A unit that is reached by two targets, in a device group with a target port group for each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lunforge_alua::{AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge_core::cdb::{Attributes, CommandId, ParsedCdb};
use lunforge_core::handler::{DeviceProfile, Fence, Identity};
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Reply, Send, Session};
use lunforge_core::{DeviceHandler, Execute, Execution, LogicalUnit, Target, Transfer};
use parking_lot::Mutex;

pub const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub const READY: [u8; 6] = [0; 6];
/// REPORT TARGET PORT GROUPS with room for all.
pub const RTPG: [u8; 12] = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];

/// A handler that knows whether its store is open.
pub struct Probe {
    pub blank: Blank,
    pub serial: String,
    pub closed: AtomicBool,
    /// Commands that came while the store was closed and needed it.
    pub reached_closed: AtomicUsize,
    pub activations: AtomicUsize,
    pub deactivations: AtomicUsize,
    pub fail: AtomicBool,
    pub panic: AtomicBool,
    /// Supports every command of the table.
    pub everything: bool,
    /// `activate` and `deactivate` say that they are there, and wait to be let go.
    pub stop: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Probe {
    pub fn new(serial: &str) -> Self {
        Self {
            blank: Blank::default(),
            serial: serial.into(),
            closed: AtomicBool::new(false),
            reached_closed: AtomicUsize::new(0),
            activations: AtomicUsize::new(0),
            deactivations: AtomicUsize::new(0),
            fail: AtomicBool::new(false),
            panic: AtomicBool::new(false),
            everything: false,
            stop: Mutex::default(),
        }
    }

    pub fn controls(&self) -> &Controls {
        &self.blank.0
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Has the next `activate` or `deactivate` report to the first end and wait for the second.
    pub fn stop_at_medium(&self) -> (Receiver<()>, Sender<()>) {
        let (there, is_there) = channel();
        let (go, may_go) = channel();
        *self.stop.lock() = Some((there, may_go));
        (is_there, go)
    }

    fn turn(&self, close: bool) -> io::Result<()> {
        if let Some((there, may_go)) = self.stop.lock().take() {
            let _ = there.send(());
            let _ = may_go.recv();
        }
        if close {
            assert_eq!(self.controls().held(), 0, "a command is at the medium");
            self.deactivations.fetch_add(1, Ordering::SeqCst);
            self.closed.store(true, Ordering::SeqCst);
        } else {
            self.activations.fetch_add(1, Ordering::SeqCst);
        }
        assert!(!self.panic.load(Ordering::SeqCst), "as told");
        if self.fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("as told"));
        }
        if !close {
            self.closed.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl DeviceHandler for Probe {
    fn identity(&self) -> Identity {
        Identity {
            serial: self.serial.clone(),
            ..self.blank.identity()
        }
    }

    fn profile(&self) -> DeviceProfile {
        self.blank.profile()
    }

    fn supports(&self, command: CommandId) -> bool {
        self.everything || self.blank.supports(command)
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
        self.blank.prepare(cdb)
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        if self.is_closed() && command.parsed().entry.has(Attributes::NEEDS_MEDIUM) {
            self.reached_closed.fetch_add(1, Ordering::SeqCst);
        }
        self.blank.execute(command)
    }

    fn deactivate(&self) -> io::Result<()> {
        self.turn(true)
    }

    fn activate(&self) -> io::Result<()> {
        self.turn(false)
    }

    fn fence(&self) -> Fence {
        self.blank.fence()
    }
}

pub struct World {
    pub bed: Bed,
    pub probe: Arc<Probe>,
    pub unit: Arc<LogicalUnit>,
    pub access: Arc<AsymmetricAccess>,
    pub group: DeviceGroup,
    /// Relative ports 1, 2 and 3; the third is in no group.
    pub targets: [Arc<Target>; 3],
}

pub fn local(group: u16, port: u16) -> TargetPortGroup {
    TargetPortGroup::new(group).with(TargetPort::Local(port))
}

pub fn target(port: u16, unit: &Arc<LogicalUnit>) -> Arc<Target> {
    Target::builder(format!("iqn.2026-11.org.example:port-{port}"))
        .relative_port(port)
        .lun(0, Arc::clone(unit))
        .build()
        .expect("a target")
}

impl World {
    /// Groups 1 and 2 with ports 1 and 2, active; a third target exists but does not have the unit.
    pub fn new() -> Self {
        Self::over(Probe::new("probe"))
    }

    pub fn over(probe: Probe) -> Self {
        let probe = Arc::new(probe);
        let access = AsymmetricAccess::new();
        let unit = LogicalUnit::builder(Arc::clone(&probe) as Arc<dyn DeviceHandler>)
            .service(Arc::clone(&access) as _)
            .build();
        let third = Target::builder("iqn.2026-11.org.example:port-3").relative_port(3);
        let third = third.build().expect("a target");
        let targets = [target(1, &unit), target(2, &unit), third];
        let bed = Bed::with_targets(2, Arc::clone(&targets[0]), &targets[1..]);
        let group = DeviceGroup::new("group");
        // So that no command is answered in transition because the machine is busy with other things.
        group.set_hold_bound(Duration::from_secs(3600));
        group.add_target_port_group(local(1, 1)).expect("a group");
        group.add_target_port_group(local(2, 2)).expect("a group");
        group.add_unit(&access).expect("a unit");
        Self {
            bed,
            probe,
            unit,
            access,
            group,
            targets,
        }
    }

    /// A session by a relative port, on a shard of its own number.
    pub fn session(&mut self, port: u16, initiator: &str) -> Session {
        let at = usize::from(port - 1);
        let target = Arc::clone(&self.targets[at]);
        let name = format!("iqn.2026-11.org.example:{initiator}");
        self.bed.session_with(&target, at % 2, &name)
    }

    pub fn send(&mut self, session: Session, cdb: &[u8], expected_in: usize) -> u64 {
        let cdb = cdb.to_vec();
        self.bed.send(
            session,
            Send {
                cdb,
                expected_in,
                ..Send::default()
            },
        )
    }

    pub fn command(&mut self, session: Session, cdb: &[u8]) -> Reply {
        self.bed.command(session, 0, cdb, &[], 1024)
    }

    pub fn read(&mut self, session: Session) -> Reply {
        self.command(session, &READ)
    }

    /// SET TARGET PORT GROUPS of these states and groups.
    pub fn stpg(&mut self, session: Session, list: &[(u8, u16)]) -> Reply {
        let data = stpg_list(list);
        self.bed
            .command(session, 0, &stpg_cdb(data.len()), &data, 0)
    }

    /// States by group, as REPORT TARGET PORT GROUPS gives them.
    pub fn reported(&mut self, session: Session) -> Vec<(u16, u8)> {
        let reply = self.command(session, &RTPG);
        assert_eq!(reply.status, Status::Good, "{reply:?}");
        let mut rest = &reply.data[4..];
        let mut groups = Vec::new();
        while let [state, _, high, low, _, _, _, ports, ..] = *rest {
            groups.push((u16::from_be_bytes([high, low]), state & 0x0F));
            rest = &rest[8 + 4 * usize::from(ports)..];
        }
        groups
    }

    /// Runs `work` on another thread and the shards meanwhile.
    pub fn meanwhile<T: std::marker::Send>(
        &mut self,
        work: impl FnOnce(&DeviceGroup) -> T + std::marker::Send,
    ) -> T {
        let (bed, group) = (&mut self.bed, &self.group);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| work(group));
            while !thread.is_finished() {
                bed.poll();
                std::thread::yield_now();
            }
            thread.join().expect("no panic")
        })
    }
}

pub fn stpg_cdb(len: usize) -> [u8; 12] {
    let [a, b, c, d] = u32::try_from(len).expect("a short list").to_be_bytes();
    [0xA4, 0x0A, 0, 0, 0, 0, a, b, c, d, 0, 0]
}

pub fn stpg_list(list: &[(u8, u16)]) -> Vec<u8> {
    let mut data = vec![0; 4];
    for (state, id) in list {
        let [high, low] = id.to_be_bytes();
        data.extend_from_slice(&[*state, 0, high, low]);
    }
    data
}

/// GOOD, for [`asc`].
pub const GOOD: Option<(u8, u8)> = None;
pub const CHANGED: Option<(u8, u8)> = Some((0x2A, 0x06));
pub const STANDBY: Option<(u8, u8)> = Some((0x04, 0x0B));
pub const UNAVAILABLE: Option<(u8, u8)> = Some((0x04, 0x0C));

/// ASC and ASCQ, or none with GOOD.
pub fn asc(reply: &Reply) -> Option<(u8, u8)> {
    assert!(reply.responded);
    assert_eq!(
        reply.asc().is_none(),
        reply.status == Status::Good,
        "{reply:?}"
    );
    reply.asc()
}

pub fn ready(world: &mut World, session: Session) -> Option<(u8, u8)> {
    asc(&world.command(session, &READY))
}

pub fn read(world: &mut World, session: Session) -> Option<(u8, u8)> {
    asc(&world.read(session))
}

/// What a session is told by unit attentions, whatever their order.
pub fn told(world: &mut World, session: Session) -> Vec<(u8, u8)> {
    let mut told = Vec::new();
    while let Some(at @ (0x2A | 0x3F, _)) = ready(world, session) {
        told.push(at);
    }
    told.sort_unstable();
    told
}
