//! Copies from another disk inside the kernel, for third-party copy: what [`DeviceHandler::copy_from`] does here.
//!
//! [`DeviceHandler::copy_from`]: lunforge_core::handler::DeviceHandler::copy_from

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{DeviceHandler, Execute, Execution, Outcome};
use lunforge_core::units::{BlockCount, Lba};

use crate::Vdisk;
use crate::disk::Disk;
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::provisioning::Provisioning;
use crate::store::{Capabilities, CopySource, StoreOp, StoreResult};

/// Bytes of one store operation: a bound of the time in which a fence waits for it.
const PIECE: u64 = 4 << 20;

/// The source as a disk and as a store, if both ends can copy.
fn source_of<'a>(
    disk: &Disk,
    source: &'a Arc<dyn DeviceHandler>,
) -> Option<(&'a Disk, CopySource)> {
    if !disk.has(Capabilities::COPY) {
        return None;
    }
    let source: &Vdisk = source.as_any()?.downcast_ref()?;
    let source = &*source.disk;
    let store = source.store().copy_source(source.stamp())?;
    (source.block() == disk.block()).then_some((source, store))
}

/// Whether a copy from `source` may be worth asking for.
pub(crate) fn possible(disk: &Disk, source: &Arc<dyn DeviceHandler>) -> bool {
    source_of(disk, source).is_some()
}

/// Copies blocks. `None`: the caller is to read and write, which also tells what is wrong with either end.
pub(crate) fn start(
    disk: &Arc<Disk>,
    execution: &mut Execution<'_>,
    source: &Arc<dyn DeviceHandler>,
    from: Lba,
    to: Lba,
    blocks: BlockCount,
) -> Option<Execute> {
    let (other, store) = source_of(disk, source)?;
    if other.ready().is_err() || disk.ready().is_err() || disk.check_writable().is_err() {
        return None;
    }
    if other.check_extent(from, blocks).is_err() || disk.check_extent(to, blocks).is_err() {
        return None;
    }
    if std::ptr::eq(other, &**disk) && from.0.abs_diff(to.0) < blocks.0 {
        return None;
    }
    Provisioning::changed(disk, disk.bytes(blocks));
    let mut machine = Copy {
        source: store,
        from: other.offset(from),
        offset: disk.offset(to),
        left: disk.bytes(blocks),
        piece: 0,
        flushing: false,
    };
    let next = machine.next(disk);
    let step = Step::Machine(Box::new(machine));
    Some(drive::start(disk, execution, step, next))
}

struct Copy {
    source: CopySource,
    from: u64,
    offset: u64,
    left: u64,
    /// Bytes of the operation in the store.
    piece: u64,
    flushing: bool,
}

impl Copy {
    fn next(&mut self, disk: &Disk) -> Next {
        if self.left == 0 {
            // With WCE zero a copy is as durable as a write.
            if disk.must_be_stable(false) {
                self.flushing = true;
                return Next::Submit(StoreOp::Flush);
            }
            return Next::end(Outcome::good());
        }
        self.piece = self.left.min(PIECE);
        Next::Submit(StoreOp::CopyFrom {
            source: self.source.clone(),
            from: self.from,
            offset: self.offset,
            len: self.piece,
            may_unmap: disk.settings.thin,
        })
    }
}

impl Machine for Copy {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        if let Err(error) = result {
            return Next::end(of_error(error, Doing::Write, disk.block()));
        }
        if self.flushing {
            return Next::end(Outcome::good());
        }
        self.from = self.from.saturating_add(self.piece);
        self.offset = self.offset.saturating_add(self.piece);
        self.left = self.left.saturating_sub(self.piece);
        self.next(disk)
    }
}
