//! The end of a device.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use lunforge::DeviceHandler;

use super::Parts;

/// How long the end of a device is waited for; then it goes on by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for one whose backend does not answer as it is.
const NO_PATIENCE: Duration = Duration::from_millis(200);

/// Makes everything durable and closes the device. Nobody uses it any more. What goes wrong is logged: the device is
/// not wanted, and there is no way back to it.
pub(super) fn close(name: &str, parts: Arc<Parts>) {
    let patience = if parts.unit.backend().is_dead() {
        NO_PATIENCE
    } else {
        PATIENCE
    };
    let (done, told) = mpsc::channel();
    let device = name.to_owned();
    let work = move || {
        if let Err(error) = DeviceHandler::deactivate(&parts.disk) {
            tracing::error!(device, %error, "was not closed cleanly");
        }
        // Its threads end with it.
        drop(parts);
        let _ = done.send(());
    };
    let thread = std::thread::Builder::new().name("lun-close".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::error!(device = name, %error, "no thread to close it on");
        return;
    }
    if told.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!(device = name, "does not end yet; it is left to itself");
    }
}
