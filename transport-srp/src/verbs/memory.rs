//! Registered memory.

#![allow(
    unsafe_code,
    reason = "registers memory that its owner keeps until it is not registered any more"
)]

use std::ffi::c_void;
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::ffi::{self, ACCESS_LOCAL_WRITE, Context, Mr, Verbs};

/// A protection domain of a device, shared by its endpoints.
pub(super) struct Pd {
    pub(super) verbs: Arc<Verbs>,
    pub(super) raw: *mut ffi::Pd,
}

// SAFETY: libibverbs may be called from any thread; the pointer is only passed to it.
unsafe impl Send for Pd {}
// SAFETY: as above.
unsafe impl Sync for Pd {}

/// The protection domains in use, by the address of their device's context.
static DOMAINS: Mutex<Vec<(usize, Weak<Pd>)>> = Mutex::new(Vec::new());

impl Pd {
    /// That of a device: librdmacm keeps one context for each.
    pub(super) fn of(verbs: &Arc<Verbs>, context: *mut Context) -> io::Result<Arc<Self>> {
        let mut domains = DOMAINS.lock();
        domains.retain(|(_, pd)| pd.strong_count() > 0);
        let known = domains.iter().find(|(of, _)| *of == context.addr());
        if let Some(pd) = known.and_then(|(_, pd)| pd.upgrade()) {
            return Ok(pd);
        }
        // SAFETY: the context is that of a connection request, and open.
        let raw = ffi::some(unsafe { (verbs.ibv_alloc_pd)(context) })?;
        let pd = Arc::new(Self {
            verbs: Arc::clone(verbs),
            raw,
        });
        domains.push((context.addr(), Arc::downgrade(&pd)));
        Ok(pd)
    }
}

impl Drop for Pd {
    fn drop(&mut self) {
        // SAFETY: what was made of it holds it.
        unsafe { (self.verbs.ibv_dealloc_pd)(self.raw) };
    }
}

/// A registration.
pub(super) struct Registered {
    pd: Arc<Pd>,
    raw: *mut Mr,
}

// SAFETY: as of `Pd`.
unsafe impl Send for Registered {}

impl Registered {
    /// Registers memory for local use. It has to stay where it is, and nobody else's, until this is dropped.
    pub(super) fn new(pd: &Arc<Pd>, memory: &mut [u8]) -> io::Result<Self> {
        let address = memory.as_mut_ptr().cast::<c_void>();
        // SAFETY: the memory exists; that it stays is the caller's part.
        let raw =
            unsafe { (pd.verbs.ibv_reg_mr)(pd.raw, address, memory.len(), ACCESS_LOCAL_WRITE) };
        Ok(Self {
            raw: ffi::some(raw)?,
            pd: Arc::clone(pd),
        })
    }

    pub(super) fn lkey(&self) -> u32 {
        // SAFETY: it is registered.
        unsafe { (*self.raw).lkey }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it is registered, once.
        unsafe { (self.pd.verbs.ibv_dereg_mr)(self.raw) };
    }
}

/// Places of one length for information units, registered for as long as they exist.
pub(super) struct Places {
    /// Before the memory, so that it is dropped before it.
    registered: Registered,
    memory: Box<[u8]>,
    len: usize,
}

impl Places {
    pub(super) fn new(pd: &Arc<Pd>, count: usize, len: usize) -> io::Result<Self> {
        let mut memory = vec![0; count * len].into_boxed_slice();
        Ok(Self {
            registered: Registered::new(pd, &mut memory)?,
            memory,
            len,
        })
    }

    pub(super) fn get(&self, place: usize) -> &[u8] {
        let start = place * self.len;
        self.memory.get(start..start + self.len).unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> &mut [u8] {
        let start = place * self.len;
        let end = start + self.len;
        self.memory.get_mut(start..end).unwrap_or_default()
    }

    pub(super) fn sge(&self, place: usize, len: usize) -> ffi::Sge {
        ffi::Sge {
            addr: self.get(place).as_ptr().addr() as u64,
            length: len.min(self.len) as u32,
            lkey: self.registered.lkey(),
        }
    }

    pub(super) fn place_len(&self) -> usize {
        self.len
    }
}
