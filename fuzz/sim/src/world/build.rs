//! How a world is put together.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use lunforge::Unit;
use lunforge::alua::{AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge::core::engine::Engine;
use lunforge::core::offload::Offload;
use lunforge::core::shard::Limits;
use lunforge::core::transport_id::TransportId;
use lunforge::core::{LogicalUnit, Target};
use lunforge::iscsi::proto::chap::{Random, RandomError};
use lunforge::iscsi::{
    AuthConfig, ChapAccount, ChapConfig, DigestChoice, IscsiTransport, TargetParams,
};
use lunforge::pr::{OnDamage, Persistence, PersistenceError, Reservations, State, Volatile};
use lunforge::vdisk::Vdisk;
use parking_lot::Mutex;

use super::{Lun, World};
use crate::chronicle::Chronicle;
use crate::config::{Config, Fault, Mask};
use crate::initiator::{Initiator, SECRET, Shared, TARGET};
use crate::medium::Medium;
use crate::model::{Model, Rights};
use crate::pattern::BLOCK;
use crate::rng::{PerMille, Rng};

/// Where every run's clock begins. Only differences to it matter.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl World {
    pub(crate) fn new(seed: u64, mask: &Mask, words: bool) -> anyhow::Result<Self> {
        let config = Arc::new(Config::of(seed, mask));
        let chronicle = Arc::new(Chronicle::new(words));
        chronicle.note(0, seed, || format!("{config:?}"));
        let model = Arc::new(Mutex::new(Model::new(&chronicle, &config.units)));
        let shared = Shared {
            chronicle,
            model,
            config,
        };
        let config = &*shared.config;
        let rng = &mut Rng::of(seed, 4, 0);
        let initiators: Vec<_> = (0..config.ports.len())
            .map(|at| Initiator::new(at, &shared))
            .collect();
        let ports: Vec<_> = initiators.iter().map(|i| i.port.clone()).collect();
        let queue = if config.on(Fault::Offload) {
            rng.pick(&[1, 2, 8])
        } else {
            4096
        };
        let (offload, jobs) = Offload::by_hand(queue);
        let luns = (0..config.units.len())
            .map(|at| lun(at, &shared, seed, &offload, &ports))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let target = luns
            .iter()
            .enumerate()
            .fold(Target::builder(TARGET), |t, (at, lun)| {
                t.lun(at as u64, Arc::clone(&lun.unit))
            })
            .build()?;
        let (engine, shards) = Engine::builder()
            .shards(config.shards)
            .limits(limits(config, rng))
            .offload(offload)
            .parts()?;
        let iscsi = engine.attach(transport(config, seed, rng)?, Arc::clone(&target))?;
        Ok(Self {
            seed,
            skipped: mask.skipped.clone(),
            origin: origin(),
            now: 0,
            due: (1 << config.shards) - 1,
            starved: vec![0; config.shards],
            luns,
            target,
            jobs,
            shards: shards.into_iter().map(Some).collect(),
            engine: Some(engine),
            iscsi,
            initiators,
            stop: None,
            shared,
        })
    }
}

fn limits(config: &Config, rng: &mut Rng) -> Limits {
    let mut limits = Limits {
        buffer_bytes: 8 << 20,
        free_bytes: 1 << 20,
        ..Limits::default()
    };
    if config.on(Fault::LittleMemory) {
        limits.buffer_bytes = rng.pick(&[16 << 10, 64 << 10, 256 << 10]);
        limits.free_bytes = rng.pick(&[0, 16 << 10]);
        limits.session_bytes = rng.pick(&[8 << 10, 32 << 10, 1 << 20]);
    }
    if config.on(Fault::FewCommands) {
        limits.commands_per_itl = rng.pick(&[1, 2, 4]);
        limits.commands = rng.pick(&[1, 3, 8]);
    }
    limits
}

fn lun(
    at: usize,
    shared: &Shared,
    seed: u64,
    offload: &Offload,
    ports: &[TransportId],
) -> anyhow::Result<Lun> {
    let config = &shared.config.units[at];
    let medium = Medium::new(at, &shared.config, seed, &shared.chronicle, &shared.model);
    let disk = Vdisk::store(Arc::clone(&medium) as _)
        .serial(format!("sim{at}"))
        .block_size(BLOCK as u32)
        .thin(config.thin)
        .shared_task_set(config.shared_task_set)
        .offload(offload.clone())
        .open()?;
    let reservations = if config.persistent {
        let failing = shared.config.strength(Fault::FailingStore);
        let rng = Mutex::new(Rng::of(seed, 5, at as u64));
        Reservations::open(Memory { failing, rng }, OnDamage::StartClean)
    } else {
        Reservations::open(Volatile, OnDamage::StartClean)
    };
    let (model, ports) = (Arc::clone(&shared.model), ports.to_vec());
    reservations.on_change(move |state| model.lock().rights_changed(at, rights(state, &ports)));
    let unit = build_unit(disk.clone(), reservations, at)?;
    Ok(Lun {
        medium,
        disk,
        unit,
        mapped: true,
    })
}

fn build_unit(
    disk: Vdisk,
    reservations: Reservations,
    at: usize,
) -> anyhow::Result<Arc<LogicalUnit>> {
    let access = AsymmetricAccess::new();
    let unit = Unit::new(disk)
        .service(access.clone())
        .reservations(reservations)
        .build();
    let group = DeviceGroup::new(format!("sim{at}"));
    group.add_target_port_group(TargetPortGroup::new(1).with(TargetPort::Local(1)))?;
    group.add_unit(&access)?;
    Ok(unit)
}

/// Rights as the model has them.
fn rights(state: &State, ports: &[TransportId]) -> Rights {
    let index = |id: &TransportId| ports.iter().position(|port| port == id);
    let registrants = state
        .registrants()
        .keys()
        .filter_map(|nexus| index(&nexus.initiator));
    let reservation = state.reservation();
    Rights {
        kind: reservation.map_or(0, |r| r.kind().code()),
        holder: reservation
            .and_then(|r| r.holder())
            .and_then(|nexus| index(&nexus.initiator)),
        registrants: registrants.fold(0, |bits, at| bits | 1 << at),
    }
}

/// Keeps reservations, now and then in vain.
struct Memory {
    failing: PerMille,
    rng: Mutex<Rng>,
}

impl Persistence for Memory {
    fn capable(&self) -> bool {
        true
    }

    fn store(&self, _: &State) -> Result<(), PersistenceError> {
        if self.rng.lock().chance(self.failing) {
            return Err(PersistenceError::Io {
                path: "memory".into(),
                source: std::io::ErrorKind::Other.into(),
            });
        }
        Ok(())
    }

    fn load(&self) -> Result<Option<State>, PersistenceError> {
        Ok(None)
    }

    fn set_aside(&self) -> Result<(), PersistenceError> {
        Ok(())
    }
}

/// Random bytes of the seed.
struct Seeded(Rng);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        bytes
            .iter_mut()
            .for_each(|byte| *byte = self.0.next() as u8);
        Ok(())
    }
}

fn transport(config: &Config, seed: u64, rng: &mut Rng) -> anyhow::Result<IscsiTransport> {
    let params = TargetParams {
        header_digest: DigestChoice::ANY,
        data_digest: DigestChoice::ANY,
        max_recv_data_segment_length: config.target_recv,
        queued_commands: config.queued_commands,
        max_outstanding_r2t: 8,
        max_sessions: config.max_sessions,
        nop_in_interval: rng.pick(&[1, 5, 30]),
        nop_in_timeout: rng.pick(&[2, 30]),
        rsp_timeout: rng.pick(&[5, 30, 90]),
        ..TargetParams::default()
    };
    let logins = Mutex::new(0);
    let random = move || {
        let mut logins = logins.lock();
        *logins += 1;
        Box::new(Seeded(Rng::of(seed, 6, *logins))) as Box<dyn Random + Send>
    };
    let mut builder = IscsiTransport::builder().params(params).random(random);
    if config.chap {
        let account = ChapAccount::new("host", SECRET)?;
        builder = builder.auth(AuthConfig::Chap(Arc::new(ChapConfig::new(
            vec![account],
            None,
        )?)));
    }
    Ok(builder.portless())
}
