//! What the running target tells of itself.

mod read;
mod sessions;

use std::time::Duration;

use lunforge::core::measure::Times;
use lunforge::pr::State;

use super::device::Device;
use super::registry::Registry;
use super::srp::SRP;
use super::target::{ISCSI, Target};
use super::text;
use crate::control::Observe;
use crate::control::report;
use crate::manage::{Change, Failure, Model};
use crate::metrics::{self, Shard, Snapshot, Transport};
use crate::tree::Path;

use super::failure::missing;

/// Longest list of LUNs of a device in a report.
const LUNS_TOLD: usize = 1024;

impl Observe for Registry {
    fn read(&self, path: &Path, attribute: &str) -> Option<String> {
        self.read_attribute(path, attribute)
    }

    fn by_initiators(&self, model: &Model) -> Vec<Change> {
        self.states_set(model)
    }

    fn sessions(&self, _: &Model) -> Vec<report::Session> {
        self.all_sessions()
    }

    fn devices(&self, _: &Model) -> Vec<report::Device> {
        self.devices()
            .iter()
            .map(|device| self.tell(device))
            .collect()
    }

    fn targets(&self, _: &Model) -> Vec<report::Target> {
        let sessions = self.session_counts();
        let tell = |(_, target): &(Path, std::sync::Arc<Target>)| {
            let core = target.core.as_ref();
            let groups = core.map(|core| core.groups()).unwrap_or_default();
            report::Target {
                driver: target.driver.clone(),
                name: target.name.clone(),
                enabled: target.is_enabled(),
                rel_tgt_id: target.given_port(),
                sessions: sessions.of(target),
                luns: core.map_or(0, |core| core.units().len() as u64),
                groups: groups.into_iter().map(|group| group.name).collect(),
                portals: self.portals(&target.driver),
            }
        };
        self.reachable().iter().map(tell).collect()
    }

    fn reservations(&self, _: &Model) -> Vec<report::Reservation> {
        let tell = |device: &std::sync::Arc<Device>| {
            reservation(&device.name, &device.parts().reservations.snapshot())
        };
        self.devices().iter().filter_map(tell).collect()
    }

    fn status(&self, model: &Model) -> report::Status {
        let devices = Observe::devices(self, model);
        let targets = self.reachable();
        let buffers = metrics::ask_all(&self.shards, |cx| cx.census().buffer_bytes as u64);
        let sum = |of: fn(&report::Device) -> u64| devices.iter().map(of).sum();
        report::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.started.elapsed().as_secs(),
            portals: self.portals(ISCSI),
            srp_portals: self.portals(SRP),
            targets: targets.len() as u64,
            enabled_targets: targets.iter().filter(|(_, t)| t.is_enabled()).count() as u64,
            devices: devices.len() as u64,
            luns: targets
                .iter()
                .filter_map(|(_, target)| target.core.as_ref())
                .map(|core| core.units().len() as u64)
                .sum(),
            sessions: (self.iscsi.sessions() + self.srp.attached.sessions()) as u64,
            troubles: self.devices().iter().filter_map(|d| trouble(d)).collect(),
            commands: sum(|device| device.reads + device.writes + device.others),
            read_bytes: sum(|device| device.read_bytes),
            write_bytes: sum(|device| device.write_bytes),
            buffers: buffers.into_iter().flatten().sum(),
            ..report::Status::default()
        }
    }

    fn metrics(&self, model: &Model) -> Snapshot {
        let device = |device: &std::sync::Arc<Device>| {
            metrics::Device::new(self.tell(device), &device.parts().unit)
        };
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.started.elapsed(),
            devices: Registry::devices(self).iter().map(device).collect(),
            targets: Observe::targets(self, model),
            reservations: self.reservations(model),
            transport: Some(Transport::new(&self.iscsi)),
            srp: self
                .srp
                .is_served()
                .then(|| metrics::Srp::new(&self.srp.attached)),
            shards: Shard::all(&self.shards),
        }
    }

    fn close_sessions(&self, target: &Path, id: Option<u64>) -> Result<(), Failure> {
        let target = self
            .target(target)
            .ok_or_else(|| missing(format_args!("the target {target}")))?;
        self.close(&target, id)
    }
}

impl Registry {
    fn tell(&self, device: &Device) -> report::Device {
        let parts = device.parts();
        let stats = parts.unit.stats();
        let sum = |of: fn(&lunforge::core::stats::IoStats) -> u64| stats.iter().map(of).sum();
        let active = parts.disk.is_active();
        let backend = parts.unit.backend();
        report::Device {
            name: device.name.clone(),
            handler: device.handler(),
            filename: device.first("filename"),
            size: active.then(|| parts.disk.size()),
            block_size: parts.disk.block_size(),
            active,
            dead: backend.is_dead(),
            oldest_ms: u64::try_from(backend.oldest().as_millis()).unwrap_or(u64::MAX),
            luns: device.luns(LUNS_TOLD),
            access_state: self.access_state(device),
            reads: sum(|stats| stats.read_commands.value()),
            writes: sum(|stats| stats.write_commands.value()),
            others: sum(|stats| stats.none_commands.value()),
            read_bytes: sum(|stats| stats.read_bytes.value()),
            write_bytes: sum(|stats| stats.write_bytes.value()),
            latency: latency(&parts.unit.measures().latency().total),
        }
    }

    /// The best state by which a target of this node leads to the device, if it is in a device group.
    fn access_state(&self, device: &Device) -> Option<String> {
        let group = self.group_of(&device.name)?;
        let local = |group: &lunforge::alua::TargetPortGroup| {
            let mut ports = group.ports().iter();
            ports.any(|port| matches!(port, lunforge::alua::TargetPort::Local(_)))
        };
        let groups = group.alua.target_port_groups();
        let states = groups
            .iter()
            .filter(|group| local(group))
            .map(|g| g.state());
        states
            .min_by_key(|state| state.code())
            .map(|state| state.to_string())
    }
}

fn latency(times: &Times) -> report::Latency {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut before = 0;
    let buckets = times.up_to().map(|(bound, up_to)| {
        let here = up_to - before;
        before = up_to;
        (micros(bound), here)
    });
    report::Latency {
        commands: times.count(),
        sum_us: micros(times.sum()),
        up_to_us: buckets.filter(|(_, count)| *count > 0).collect(),
    }
}

fn trouble(device: &Device) -> Option<String> {
    let parts = device.parts();
    let name = &device.name;
    if parts.unit.backend().is_dead() {
        return Some(format!("{name}: its backend does not answer"));
    }
    if !parts.reservations.is_known() {
        return Some(format!("{name}: its reservations cannot be read"));
    }
    let wanted = device.first("active").is_none_or(|active| active == "1");
    if wanted && !parts.disk.is_active() && !parts.access.is_bound() {
        return Some(format!("{name}: it is not open"));
    }
    device
        .is_blocked()
        .then(|| format!("{name}: its commands are held back"))
}

/// What is told of the reservations of a device; nothing where nobody is registered or has reserved it.
pub fn reservation(device: &str, state: &State) -> Option<report::Reservation> {
    if state.registrants().is_empty() && state.reserved_by().is_none() {
        return None;
    }
    let kind = match (state.reservation(), state.reserved_by()) {
        (Some(reservation), _) => Some(text::kind(reservation.kind()).to_owned()),
        (None, Some(_)) => Some("SPC-2".to_owned()),
        (None, None) => None,
    };
    let holders = state
        .registrants()
        .keys()
        .filter(|nexus| state.holds(nexus));
    let holders = holders.chain(state.reserved_by());
    let registrant = |(nexus, key): (&lunforge::pr::ItNexus, &lunforge::pr::ReservationKey)| {
        let key = format!("0x{:016x}", key.0);
        (nexus.initiator.to_string(), nexus.port, key)
    };
    Some(report::Reservation {
        device: device.to_owned(),
        generation: state.generation(),
        kind,
        holders: holders.map(ToString::to_string).collect(),
        registrants: state.registrants().iter().map(registrant).collect(),
        aptpl: state.aptpl(),
    })
}
