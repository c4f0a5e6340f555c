//! What initiators see of a disk and its owner may change while it lives: who it is, and what it advises.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use lunforge_core::handler::Identity;
use lunforge_core::units::BlockSize;
use parking_lot::Mutex;

use crate::error::VdiskError;
use crate::store::Limits;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Face {
    identity: Mutex<Identity>,
    vendor_specific: Mutex<Vec<u8>>,
    physical_exponent: AtomicU8,
    optimal_transfer: AtomicU32,
}

impl Face {
    pub(crate) fn new(
        identity: Identity,
        vendor_specific: Vec<u8>,
        physical_exponent: u8,
        optimal_transfer: u32,
    ) -> Self {
        Self {
            identity: Mutex::new(identity),
            vendor_specific: Mutex::new(vendor_specific),
            physical_exponent: AtomicU8::new(physical_exponent),
            optimal_transfer: AtomicU32::new(optimal_transfer),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    /// True when it is another one than before.
    pub(crate) fn set_identity(&self, identity: Identity) -> bool {
        let mut present = self.identity.lock();
        let changed = *present != identity;
        *present = identity;
        changed
    }

    pub(crate) fn vendor_specific(&self) -> Vec<u8> {
        self.vendor_specific.lock().clone()
    }

    /// As [`Face::set_identity`].
    pub(crate) fn set_vendor_specific(&self, bytes: Vec<u8>) -> bool {
        let mut present = self.vendor_specific.lock();
        let changed = *present != bytes;
        *present = bytes;
        changed
    }

    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT. Relaxed, here and below: a number that publishes nothing else.
    pub(crate) fn physical_exponent(&self) -> u8 {
        self.physical_exponent.load(Ordering::Relaxed)
    }

    pub(crate) fn set_physical_exponent(&self, exponent: u8) -> bool {
        self.physical_exponent.swap(exponent, Ordering::Relaxed) != exponent
    }

    /// OPTIMAL TRANSFER LENGTH in bytes.
    pub(crate) fn optimal_transfer(&self) -> u32 {
        self.optimal_transfer.load(Ordering::Relaxed)
    }

    pub(crate) fn set_optimal_transfer(&self, bytes: u32) -> bool {
        self.optimal_transfer.swap(bytes, Ordering::Relaxed) != bytes
    }
}

/// That INQUIRY can say what the identity has.
pub(crate) fn check_identity(name: &str, identity: &Identity) -> Result<(), VdiskError> {
    let parts = [
        ("the serial number", &identity.serial, 36),
        ("the vendor identification", &identity.vendor, 8),
        ("the product identification", &identity.product, 16),
        ("the revision", &identity.revision, 4),
    ];
    for (what, text, max) in parts {
        let printable = text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
        if !printable || !(1..=max).contains(&text.len()) {
            let name = name.into();
            return Err(VdiskError::Identity { name, what, max });
        }
    }
    Ok(())
}

/// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT of a physical block of so many bytes, or else of the store's.
pub(crate) fn physical_exponent(
    name: &str,
    wanted: Option<u32>,
    limits: &Limits,
    block: BlockSize,
) -> Result<u8, VdiskError> {
    let size = wanted.unwrap_or_else(|| limits.physical_block.max(block.bytes()));
    if !size.is_power_of_two() || size < block.bytes() {
        let name = name.into();
        return Err(VdiskError::PhysicalBlockSize { name, size });
    }
    let exponent = (size / block.bytes()).trailing_zeros();
    Ok(u8::try_from(exponent.min(15)).unwrap_or(0))
}
