//! What a source may do to its shard.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll;

use super::completion::CommandKey;
use super::{Census, Limits, NexusKey, ShardCore, ShardHandle, Source, SourceId};
use crate::budget::Budget;
use crate::buffer::{BufferPool, IoBuf};
use crate::command::{Begun, CommandRequest};
use crate::nexus::{Nexus, NexusId};
use crate::sense::Sense;
use crate::target::{SessionName, Target};
use crate::tmf::Function;
use crate::transport_id::TransportId;

/// What a source may do to its shard, for the length of a call.
pub struct ShardCx<'a> {
    pub(crate) core: &'a mut ShardCore,
    pub(super) this: SourceId,
}

impl std::fmt::Debug for ShardCx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardCx")
            .field("this", &self.this)
            .finish_non_exhaustive()
    }
}

impl ShardCx<'_> {
    /// What there is on the shard now; see [`Shard::census`](super::Shard::census).
    pub fn census(&self) -> Census {
        self.core.census()
    }

    /// Commands of initiators that each session has on this shard; sessions without any are left out. Takes as long as
    /// there are commands.
    pub fn commands_of_sessions(&self) -> BTreeMap<NexusId, u64> {
        self.core.commands_of_sessions()
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// The source that was called.
    pub fn this(&self) -> SourceId {
        self.this
    }

    /// All shards of the engine, this one too.
    pub fn shards(&self) -> &Arc<[ShardHandle]> {
        &self.core.peers
    }

    /// This shard.
    pub fn handle(&self) -> ShardHandle {
        self.core.peers[self.core.lane].clone()
    }

    /// The shard's limits.
    pub fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// The shard's buffers.
    pub fn pool(&mut self) -> &mut BufferPool {
        &mut self.core.pool
    }

    /// Whether the engine stops: new sessions are to be refused.
    pub fn stopping(&self) -> bool {
        self.core.stopping
    }

    /// Adds a source to this shard; its calls begin after the present one returns.
    pub fn add_source(&mut self, source: Box<dyn Source>) -> SourceId {
        self.core.add_source(source)
    }

    /// Adds a source that is built with its own id known, for instance to watch a descriptor.
    pub fn add_source_with(
        &mut self,
        build: impl FnOnce(&mut ShardCx<'_>) -> Option<Box<dyn Source>>,
    ) -> Option<SourceId> {
        let id = self.core.reserve();
        let built = build(&mut ShardCx {
            core: self.core,
            this: id,
        });
        match built {
            Some(source) => {
                self.core.added.push((id, source));
                Some(id)
            }
            None => {
                self.core.remove(id);
                self.core.free_slots.push(id.index);
                None
            }
        }
    }

    /// Ends this source after the present call. Its descriptor must be closed by its `Drop`, its sessions be closed
    /// by itself before.
    pub fn remove_source(&mut self) {
        self.core.remove(self.this);
    }

    /// Watches this source's descriptor, level triggered. One descriptor per source.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn watch(
        &mut self,
        fd: BorrowedFd<'_>,
        readable: bool,
        writable: bool,
    ) -> std::io::Result<()> {
        let data = epoll::EventData::new_u64(self.this.to_u64());
        Ok(epoll::add(
            &self.core.epoll,
            fd,
            data,
            interest(readable, writable),
        )?)
    }

    /// Changes what a watched descriptor is watched for.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn rewatch(
        &mut self,
        fd: BorrowedFd<'_>,
        readable: bool,
        writable: bool,
    ) -> std::io::Result<()> {
        let data = epoll::EventData::new_u64(self.this.to_u64());
        Ok(epoll::modify(
            &self.core.epoll,
            fd,
            data,
            interest(readable, writable),
        )?)
    }

    /// Stops watching a descriptor.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn unwatch(&mut self, fd: BorrowedFd<'_>) -> std::io::Result<()> {
        Ok(epoll::delete(&self.core.epoll, fd)?)
    }

    /// Sets this source's one timer, or clears it.
    pub fn set_timer(&mut self, at: Option<Instant>) {
        self.core.set_timer(self.this, at);
    }

    /// Has `flush` called at the end of this batch.
    pub fn wants_flush(&mut self) {
        self.core.touch(self.this);
    }

    /// Opens a session with a target. The events of a command go to the source that began it.
    pub fn open_nexus(&mut self, target: &Arc<Target>, initiator: TransportId) -> NexusKey {
        let name = SessionName::new(initiator.device());
        self.core.open_nexus(self.this, target, initiator, name)
    }

    /// As [`ShardCx::open_nexus`], under a name by which the session's LUN map is chosen ([`Target::luns_of`]) in place of
    /// the initiator's, and perhaps others.
    pub fn open_nexus_as(
        &mut self,
        target: &Arc<Target>,
        initiator: TransportId,
        name: impl Into<SessionName>,
    ) -> NexusKey {
        self.core
            .open_nexus(self.this, target, initiator, name.into())
    }

    /// This source is one more connection of a session.
    pub fn join_nexus(&mut self, key: NexusKey) {
        self.core.join_nexus(self.this, key);
    }

    /// What a session may hold of the shard's buffers, and holds.
    pub fn budget(&self, key: NexusKey) -> Option<&Budget> {
        self.core.nexus(key).map(|nexus| &nexus.budget)
    }

    /// The shared part of a session.
    pub fn nexus(&self, key: NexusKey) -> Option<&Arc<Nexus>> {
        self.core.nexus(key).map(|n| &n.shared)
    }

    /// Closes a session: ends its commands, and says [`Event::NexusClosed`] when nothing of them can take effect any
    /// more. Bounded by [`crate::tmf::BOUND`].
    ///
    /// [`Event::NexusClosed`]: super::Event::NexusClosed
    pub fn close_nexus(&mut self, key: NexusKey) {
        self.core.close_nexus(self.this, key);
    }

    /// Ends all commands of a session, which goes on: its connection was lost and is replaced. Each of them still ends by
    /// [`Event::Finished`], within [`crate::tmf::BOUND`].
    ///
    /// [`Event::Finished`]: super::Event::Finished
    pub fn abort_commands(&mut self, key: NexusKey) {
        self.core.abort_commands(key);
    }

    /// Begins a command (see [`crate::pipeline`]).
    pub fn begin(&mut self, request: &CommandRequest<'_>) -> Begun {
        self.core.begin(self.this, request)
    }

    /// All Data-Out of a command has arrived in `buf`; a shorter buffer than was given says how much did.
    pub fn data_out(&mut self, command: CommandKey, buf: IoBuf) {
        self.core.data_out(command, buf);
    }

    /// The Data-Out of a command cannot be had (digest error, protocol error): the command ends with `sense`.
    pub fn data_out_failed(&mut self, command: CommandKey, buf: IoBuf, sense: Sense) {
        self.core.data_out_failed(command, buf, sense);
    }

    /// Begins a task management function; its end comes as [`Event::TaskManagement`] with `tag`.
    ///
    /// [`Event::TaskManagement`]: super::Event::TaskManagement
    pub fn task_management(&mut self, nexus: NexusKey, lun: [u8; 8], function: Function, tag: u64) {
        self.core
            .task_management(self.this, nexus, lun, function, tag);
    }
}

fn interest(readable: bool, writable: bool) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, readable);
    flags.set(epoll::EventFlags::OUT, writable);
    flags
}
