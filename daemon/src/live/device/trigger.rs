//! What is done to a device once.

use lunforge::vdisk::VdiskError;

use super::super::failure::failure;
use super::super::text;
use super::super::{Done, Live};
use super::reopen::hold;

impl Live {
    pub(in super::super) fn trigger_device(
        &self,
        name: &str,
        attribute: &str,
        value: &str,
    ) -> Done {
        let device = self.device(name)?;
        let parts = device.parts();
        let done = |result: Result<(), VdiskError>| result.map_err(failure);
        match attribute {
            "resync_size" => done(parts.disk.resync().map(drop)),
            "sync" => done(parts.disk.flush()),
            "gen_tp_soft_threshold_reached_UA" => {
                parts.disk.soft_threshold_reached();
                Ok(())
            }
            "dump_prs" => {
                let state = parts.reservations.snapshot();
                let reservations = text::reservations(&state);
                tracing::warn!(device = name, "reservations as asked for:\n{reservations}");
                Ok(())
            }
            "block" if value.starts_with('0') => {
                // Dropped outside of the lock: commands go on by it.
                let blocked = device.state.lock().blocked.take();
                drop(blocked);
                Ok(())
            }
            "block" => {
                if device.is_blocked() {
                    return Ok(());
                }
                let held = hold(&parts)?;
                device.state.lock().blocked = Some(held);
                Ok(())
            }
            _ => Err(failure(format!("{attribute} cannot be written"))),
        }
    }
}
