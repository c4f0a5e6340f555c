//! An engine: shards and their threads, and the transports that serve targets on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

mod last_flush;

use last_flush::Last;

use crate::offload::Offload;
use crate::shard::mailbox::Mailbox;
use crate::shard::{self, Limits, Shard, ShardHandle};
use crate::target::{Target, TargetId};

/// A transport, for instance iSCSI on some portals.
pub trait Transport {
    /// What a caller gets to look after the running transport.
    type Attachment;
    /// Why it cannot start.
    type Error;

    /// Begins to serve `targets` on `shards`. Returns when a session can be opened.
    ///
    /// # Errors
    /// The transport's own.
    fn attach(
        self,
        shards: &Arc<[ShardHandle]>,
        targets: Vec<Arc<Target>>,
    ) -> Result<Self::Attachment, Self::Error>;
}

/// What may be attached: a target, or several.
pub trait IntoTargets {
    /// The targets.
    fn into_targets(self) -> Vec<Arc<Target>>;
}

impl IntoTargets for Arc<Target> {
    fn into_targets(self) -> Vec<Arc<Target>> {
        vec![self]
    }
}

impl IntoTargets for Vec<Arc<Target>> {
    fn into_targets(self) -> Vec<Arc<Target>> {
        self
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread could be started.
    #[error("cannot start a shard thread: {0}")]
    Thread(#[source] std::io::Error),
    /// No epoll set or eventfd could be had.
    #[error("cannot set up a shard: {0}")]
    Shard(#[source] std::io::Error),
}

/// Describes an engine.
#[derive(Debug, Clone)]
pub struct EngineBuilder {
    shards: usize,
    limits: Limits,
    offload_threads: usize,
    offload: Option<Offload>,
}

impl EngineBuilder {
    /// Number of shards, at least one. The number of processors unless set.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Hard limits of each shard.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Most threads for work that blocks; 16 unless set. One unit gets a quarter of them at most.
    #[must_use]
    pub fn offload_threads(mut self, threads: usize) -> Self {
        self.offload_threads = threads.max(1);
        self
    }

    /// Has work that blocks done there instead, for instance by hand. The engine closes it when it stops.
    #[must_use]
    pub fn offload(mut self, offload: Offload) -> Self {
        self.offload = Some(offload);
        self
    }

    /// Starts a thread for each shard.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self) -> Result<Engine, StartError> {
        let (mut engine, shards) = self.parts()?;
        for (lane, mut shard) in shards.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("lun-shard-{lane}"));
            match thread.spawn(move || shard.run()) {
                Ok(handle) => engine.threads.push(handle),
                Err(error) => {
                    // Those that run are stopped; dropping the engine joins them.
                    return Err(StartError::Thread(error));
                }
            }
        }
        Ok(engine)
    }

    /// Makes an engine whose shards the caller drives with [`Shard::poll`], each on one thread at a time.
    ///
    /// # Errors
    /// [`StartError::Shard`].
    pub fn parts(self) -> Result<(Engine, Vec<Shard>), StartError> {
        let mailboxes = (0..self.shards)
            .map(|_| Mailbox::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Shard)?;
        let roster = Arc::<Roster>::default();
        let measure_latency = Arc::<AtomicBool>::default();
        let handles: Arc<[ShardHandle]> = mailboxes
            .iter()
            .map(|m| shard::handle(Arc::clone(m), Arc::clone(&roster)))
            .collect();
        // Four waiting jobs for each command that a few busy units can have in flight.
        let offload = self
            .offload
            .unwrap_or_else(|| Offload::new(self.offload_threads, 16_384));
        let shards = mailboxes
            .into_iter()
            .enumerate()
            .map(|(lane, mailbox)| {
                Shard::new(
                    lane,
                    self.limits,
                    mailbox,
                    Arc::clone(&handles),
                    offload.clone(),
                    Arc::clone(&measure_latency),
                )
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Shard)?;
        let engine = Engine {
            shards: handles,
            threads: Vec::new(),
            offload,
            roster,
            measure_latency,
        };
        Ok((engine, shards))
    }
}

/// Running shards. Dropping the engine stops it, as [`Engine::stop`] does.
#[derive(Debug)]
pub struct Engine {
    shards: Arc<[ShardHandle]>,
    threads: Vec<JoinHandle<()>>,
    offload: Offload,
    roster: Arc<Roster>,
    measure_latency: Arc<AtomicBool>,
}

/// The targets that an engine serves, each as often as a transport serves it.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<BTreeMap<TargetId, (Arc<Target>, usize)>>);

impl Roster {
    pub(crate) fn insert(&self, target: &Arc<Target>) {
        let mut targets = self.0.lock();
        let entry = targets.entry(target.id());
        entry.or_insert_with(|| (Arc::clone(target), 0)).1 += 1;
    }

    pub(crate) fn remove(&self, target: TargetId) {
        let mut targets = self.0.lock();
        let Some((_, times)) = targets.get_mut(&target) else {
            return;
        };
        *times -= 1;
        if *times == 0 {
            targets.remove(&target);
        }
    }

    fn take(&self) -> Vec<Arc<Target>> {
        let targets = std::mem::take(&mut *self.0.lock());
        targets.into_values().map(|(target, _)| target).collect()
    }
}

/// How an engine came to its end.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Shards that did not end within the bound; their threads were left behind.
    pub stuck_shards: usize,
    /// Units that could not be made durable, with the reason.
    pub not_flushed: Vec<(String, std::io::Error)>,
}

impl Engine {
    /// Starts to describe an engine.
    pub fn builder() -> EngineBuilder {
        let shards = std::thread::available_parallelism().map_or(1, usize::from);
        EngineBuilder {
            shards,
            limits: Limits::default(),
            offload_threads: 16,
            offload: None,
        }
    }

    /// Serves a target, or several, through a transport. Returns when a session can be opened.
    ///
    /// # Errors
    /// The transport's.
    pub fn attach<T: Transport>(
        &self,
        transport: T,
        targets: impl IntoTargets,
    ) -> Result<T::Attachment, T::Error> {
        let targets = targets.into_targets();
        targets.iter().for_each(|target| target.serve(&self.shards));
        transport
            .attach(&self.shards, targets.clone())
            .inspect_err(|_| targets.iter().for_each(|t| t.retire(&self.shards)))
    }

    /// The engine's shards.
    pub fn shards(&self) -> &Arc<[ShardHandle]> {
        &self.shards
    }

    /// Set: each command reads the clock when it arrives, when its handler gets it and when it ends, so that
    /// [`Measures::latency`](crate::measure::Measures::latency) is exact. Unset, as it is at first: a command's times are
    /// those of its shard's turns, which cost nothing. May be changed at any time, from any thread. Not for shards that
    /// are given another time than the clock's ([`Shard::poll`]): deadlines begin by the clock then.
    pub fn measure_latency(&self) -> &Arc<AtomicBool> {
        &self.measure_latency
    }

    /// Begins to end the engine, for who drives its shards: each is through when [`Shard::finished`] says so. Then
    /// [`Engine::stop`] does the rest.
    pub fn begin_stop(&self) {
        self.shards.iter().for_each(ShardHandle::stop);
    }

    /// Ends the engine: sessions are closed, what runs is ended or aborted, every unit is made durable. Blocks for
    /// `bound` at most. A unit whose backend does not answer is named in [`Stopped::not_flushed`] and a thread that waits
    /// for it is left behind; where it is known already that the backend is dead (commands were given up), nobody waits
    /// for it, and the end takes less than a second whatever `bound` is.
    pub fn stop(mut self, bound: Duration) -> Stopped {
        self.shut_down(bound)
    }

    fn shut_down(&mut self, bound: Duration) -> Stopped {
        self.begin_stop();
        let end = Instant::now() + bound;
        let mut stopped = Stopped::default();
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                stopped.stuck_shards += 1;
            }
        }
        let mailboxes: Vec<_> = self.shards.iter().map(|s| Arc::clone(&s.mailbox)).collect();
        let mut units = Vec::new();
        let mut seen = BTreeSet::new();
        for target in self.roster.take() {
            for (name, unit) in target.named_units() {
                unit.unbind(&mailboxes);
                if seen.insert(unit.id()) {
                    units.push(Last { name, unit });
                }
            }
        }
        // Shards that took all of the time leave some for this.
        let end = end.max(Instant::now() + bound / 8);
        stopped.not_flushed = last_flush::flush(units, end);
        self.offload.close();
        stopped
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let stopped = self.shut_down(Duration::from_secs(2));
        for (unit, error) in stopped.not_flushed {
            tracing::error!(unit, %error, "could not be made durable");
        }
    }
}
