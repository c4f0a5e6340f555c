//! Registered memory.
//!
//! A segment of a buffer is registered once, all of it, and its registration stays with it through the shard's pool. Work that
//! the other end names memory for (an RDMA read by iWARP) has a registration of its own, of its own bytes and no longer than
//! it lasts: who knew the STag of memory that others use later could write there. The same serves when the device takes no more
//! of those that stay.

#![allow(
    unsafe_code,
    reason = "registers memory that its owner keeps until it is not registered any more"
)]

use std::ffi::c_int;
use std::io;
use std::sync::Arc;

use lunforge_core::buffer::{IoBuf, Part};

use super::device::Device;
use super::ffi::{self, Mr, access};

/// A registration for as long as a piece of work lasts.
pub(super) struct Registered {
    device: Arc<Device>,
    raw: *mut Mr,
}

// SAFETY: libibverbs may be called from any thread; the pointer is only passed to it, and what it points to does not change.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    /// Registers memory. It has to stay where it is, and nobody else's while there is work on it, until this is dropped.
    fn new(device: &Arc<Device>, memory: &mut [u8], rights: c_int) -> io::Result<Self> {
        let address = memory.as_mut_ptr().cast();
        // SAFETY: the memory exists; that it stays is the caller's part.
        let raw = unsafe { (device.verbs.ibv_reg_mr)(device.pd, address, memory.len(), rights) };
        Ok(Self {
            raw: ffi::some(raw)?,
            device: Arc::clone(device),
        })
    }

    fn lkey(&self) -> u32 {
        // SAFETY: it is registered.
        unsafe { (*self.raw).lkey }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it is registered, once.
        unsafe { (self.device.verbs.ibv_dereg_mr)(self.raw) };
    }
}

/// A registration that stays with its segment.
struct Lasting(Registered);

impl Lasting {
    /// `None` when the device takes no more of them.
    fn new(device: &Arc<Device>, memory: &mut [u8]) -> Option<Self> {
        if !device.quota.may_last() {
            return None;
        }
        match Registered::new(device, memory, access::LOCAL_WRITE) {
            Ok(registered) => Some(Self(registered)),
            Err(_) => {
                device.quota.gone();
                device.quota.refuses();
                None
            }
        }
    }

    fn is_of(&self, device: &Arc<Device>) -> bool {
        Arc::ptr_eq(&self.0.device, device)
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.0.device.quota.gone();
    }
}

/// What work needs of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To be read, or written by what arrives: nobody else can name it.
    Local,
    /// To be filled by an RDMA read.
    ReadSink,
}

/// A piece of local memory, as work requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) addr: u64,
    pub(super) len: usize,
    pub(super) lkey: u32,
}

/// Registers the first `len` bytes of a buffer: where they are goes to `locals`, in order, what is to be kept as long as the
/// work lasts to `own`.
///
/// # Errors
/// Those of the device.
pub(super) fn register(
    device: &Arc<Device>,
    buf: &mut IoBuf,
    len: usize,
    for_use: Use,
    locals: &mut impl Extend<Local>,
    own: &mut Vec<Registered>,
) -> io::Result<()> {
    let named_by_others = for_use == Use::ReadSink && device.iwarp;
    for mut part in buf.parts_mut(0..len) {
        let lasting = (!named_by_others).then(|| lasting(device, &mut part));
        let bytes = part.bytes_mut();
        let lkey = match lasting.flatten() {
            Some(lkey) => lkey,
            None => {
                let remote = if named_by_others {
                    access::REMOTE_WRITE
                } else {
                    0
                };
                let one = Registered::new(device, bytes, access::LOCAL_WRITE | remote)?;
                let lkey = one.lkey();
                own.push(one);
                lkey
            }
        };
        locals.extend([Local {
            addr: bytes.as_ptr().addr() as u64,
            len: bytes.len(),
            lkey,
        }]);
    }
    Ok(())
}

/// The key of the registration that stays with a segment, made if there is none. `None`: the device takes no more.
fn lasting(device: &Arc<Device>, part: &mut Part<'_>) -> Option<u32> {
    let known = |part: &Part<'_>| {
        let one = part.registration(|one: &Lasting| one.is_of(device))?;
        Some(one.0.lkey())
    };
    known(part).or_else(|| {
        part.register(|memory| Lasting::new(device, memory).ok_or(()))
            .ok()?;
        known(part)
    })
}

/// A buffer is not worked on any more. When the device has more registrations that stay than it may, those of the buffer go.
pub(super) fn relieve(device: &Arc<Device>, buf: &mut IoBuf) {
    if device.quota.is_crowded() {
        let len = buf.len();
        buf.parts_mut(0..len)
            .for_each(|mut part| part.deregister(|one: &Lasting| one.is_of(device)));
    }
}
