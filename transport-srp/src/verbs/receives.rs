//! Buffers for information units that come.

use std::sync::Arc;

use lunforge_core::buffer::IoBuf;

use super::device::Device;
use super::memory::{self, Local, Registered, Use};

/// A buffer that hardware has.
struct Given {
    /// Before the buffer, so that they are dropped before it.
    own: Vec<Registered>,
    buf: IoBuf,
}

/// Buffers that hardware has, by the number that their completion tells.
#[derive(Default)]
pub(super) struct Receives {
    given: Vec<Option<Given>>,
    free: Vec<usize>,
    /// Memory of what is being given, empty in between.
    locals: Vec<Local>,
}

impl Receives {
    /// Room for so many.
    pub(super) fn new(count: usize) -> Self {
        Self {
            given: std::iter::repeat_with(|| None).take(count).collect(),
            free: (0..count).collect(),
            locals: Vec::with_capacity(1),
        }
    }

    /// Takes a buffer that `post` gives to hardware. Else it comes back; true: there is room for it, but hardware refuses.
    pub(super) fn give(
        &mut self,
        device: &Arc<Device>,
        mut buf: IoBuf,
        post: impl FnOnce(u64, Local) -> bool,
    ) -> Result<(), (IoBuf, bool)> {
        let Some(place) = self.free.pop() else {
            return Err((buf, false));
        };
        let (locals, mut own) = (&mut self.locals, Vec::new());
        let len = buf.len();
        let registered = memory::register(device, &mut buf, len, Use::Local, locals, &mut own);
        // An information unit lies in one segment.
        let posted = match (registered, locals.as_slice()) {
            (Ok(()), [local]) => post(place as u64, *local),
            _ => false,
        };
        locals.clear();
        if posted && let Some(slot) = self.given.get_mut(place) {
            *slot = Some(Given { own, buf });
            return Ok(());
        }
        self.free.push(place);
        Err((buf, true))
    }

    /// A buffer that hardware is done with.
    pub(super) fn take(&mut self, id: u64) -> Option<IoBuf> {
        let place = usize::try_from(id).ok()?;
        let Given { own, buf } = self.given.get_mut(place)?.take()?;
        drop(own);
        self.free.push(place);
        Some(buf)
    }

    /// How many hardware has.
    pub(super) fn len(&self) -> usize {
        self.size() - self.room()
    }

    /// How many it can have.
    pub(super) fn size(&self) -> usize {
        self.given.len()
    }

    /// How many more it can have.
    pub(super) fn room(&self) -> usize {
        self.free.len()
    }
}
