//! GET EVENT STATUS NOTIFICATION (MMC-6 6.6): what became of the medium since the nexus asked last.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

use crate::disk::Disk;

/// Notification classes, as numbers: the bits of the request and of SUPPORTED EVENT CLASSES.
const MEDIA: u8 = 4;
const DEVICE_BUSY: u8 = 6;
const SUPPORTED: u8 = 1 << MEDIA | 1 << DEVICE_BUSY;
/// NEA: none of the classes asked for is supported.
const NO_EVENT: u8 = 0x80;

/// Media events.
const NO_CHANGE: u8 = 0;
const NEW_MEDIA: u8 = 2;
const MEDIA_REMOVAL: u8 = 3;

/// How often the medium came or went, and how much of that each nexus was told.
#[derive(Debug, Default)]
pub(crate) struct Events {
    changes: AtomicU64,
    /// Of the nexuses that ask; the others have their unit attentions.
    told: Mutex<HashMap<NexusId, u64>>,
}

impl Events {
    /// A medium came or went.
    pub(crate) fn changed(&self) {
        // Relaxed: a count that publishes nothing else.
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn nexus_lost(&self, nexus: NexusId) {
        self.told.lock().remove(&nexus);
    }

    /// The answer. Of several classes that are asked for the one with the lowest number is reported.
    pub(super) fn data(&self, disk: &Disk, nexus: NexusId, classes: u8) -> Vec<u8> {
        let class = classes & SUPPORTED;
        if class == 0 {
            return vec![0, 2, NO_EVENT, SUPPORTED];
        }
        if class & 1 << MEDIA == 0 {
            // Never busy.
            return vec![0, 6, DEVICE_BUSY, SUPPORTED, 0, 0, 0, 0];
        }
        let present = disk.medium().is_ok();
        let event = self.media_event(nexus, present);
        // MEDIA PRESENT, DOOR OR TRAY OPEN.
        let status = u8::from(present) << 1 | u8::from(!disk.is_present());
        vec![0, 6, MEDIA, SUPPORTED, event, status, 0, 0]
    }

    /// What happened since the last time; a nexus that asks for the first time knows nothing older.
    fn media_event(&self, nexus: NexusId, present: bool) -> u8 {
        let now = self.changes.load(Ordering::Relaxed);
        let told = self.told.lock().insert(nexus, now);
        match told.is_some_and(|told| told != now) {
            false => NO_CHANGE,
            true if present => NEW_MEDIA,
            true => MEDIA_REMOVAL,
        }
    }
}

/// Checks POLLED: asynchronous notification is not supported.
pub(super) fn check(polled: bool) -> Result<(), Sense> {
    if polled {
        Ok(())
    } else {
        Err(Sense::invalid_field_in_cdb(1, Some(0)))
    }
}
