//! Marks in the log of dm-log-writes: how many acks there were when the mark was set.
//!
//! The initiator has an ack before it sets the mark that counts it; so all that this ack promises has to lie before the
//! mark in the log. As `dmsetup message DEVICE 0 mark TEXT` does it, without a process for each: dm-ioctl.h,
//! DM_TARGET_MSG.
//!
//! ```text
//!  struct dm_ioctl         version 0, data_size 12, data_start 16, name 48 (128 bytes); 312 bytes
//!  struct dm_target_msg    sector (64 bits), message, NUL
//! ```
#![allow(unsafe_code, reason = "one ioctl, for which rustix has no wrapper")]

use std::fs::{File, OpenOptions};
use std::io;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::DurableError;

const CONTROL: &str = "/dev/mapper/control";
const HEADER: usize = 312;
const NAME: usize = 48;
const NAME_LEN: usize = 128;
/// Header, sector and message.
const MESSAGE: usize = 512;
const DM_TARGET_MSG: Opcode = opcode::read_write::<[u8; HEADER]>(0xFD, 14);

/// The log of a device-mapper device.
#[derive(Debug)]
pub(super) struct Log {
    control: File,
    device: String,
}

impl Log {
    /// The log of the device with this name. Needs root.
    pub(super) fn open(device: &str) -> Result<Self, DurableError> {
        let control = OpenOptions::new().read(true).write(true).open(CONTROL);
        Ok(Self {
            control: control.map_err(|e| DurableError::host(CONTROL, e))?,
            device: device.to_owned(),
        })
    }

    /// Sets a mark: so many acks there were before it.
    pub(super) fn mark(&self, acks: u64) -> Result<(), DurableError> {
        let failed =
            |source| DurableError::host(format!("a mark in the log of {}", self.device), source);
        let wanted = format!("mark {}", text(acks));
        let mut message = message(&self.device, &wanted)
            .ok_or_else(|| failed(io::Error::other("a name that is too long")))?;
        // SAFETY: the kernel reads and writes at most `data_size` bytes from the pointer on (dm-ioctl.h), which is the
        // length of the array.
        let sent = unsafe {
            ioctl(
                &self.control,
                Updater::<DM_TARGET_MSG, [u8; MESSAGE]>::new(&mut message),
            )
        };
        sent.map_err(|errno| failed(errno.into()))
    }
}

/// The argument of DM_TARGET_MSG; `None` when it does not fit.
fn message(device: &str, text: &str) -> Option<[u8; MESSAGE]> {
    let mut message = [0; MESSAGE];
    let mut put = |at: usize, bytes: &[u8]| -> Option<()> {
        message
            .get_mut(at..)?
            .get_mut(..bytes.len())?
            .copy_from_slice(bytes);
        Some(())
    };
    let word = |n: usize| u32::try_from(n).map(u32::to_ne_bytes).ok();
    if device.len() >= NAME_LEN || text.len() >= MESSAGE - HEADER - 8 {
        return None;
    }
    put(0, &4_u32.to_ne_bytes())?;
    put(12, &word(MESSAGE)?)?;
    put(16, &word(HEADER)?)?;
    put(NAME, device.as_bytes())?;
    put(HEADER + 8, text.as_bytes())?;
    Some(message)
}

/// The text of a mark: one word, or the kernel takes it for several arguments.
fn text(acks: u64) -> String {
    format!("acks:{acks}")
}

/// The number of acks that a mark is about; `None` for marks of others.
pub(super) fn parse(mark: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(mark).ok()?;
    text.trim_end_matches('\0')
        .strip_prefix("acks:")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        assert_eq!(parse(text(17).as_bytes()), Some(17));
        assert_eq!(parse(b"acks:17\0\0"), Some(17));
        assert_eq!(parse(b"dm-log-writes-end"), None);
        assert_eq!(parse(&[0xFF]), None);
    }

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let built = message("log0", "mark acks:1").unwrap();
        assert_eq!(built[..4], 4_u32.to_ne_bytes());
        assert_eq!(built[12..16], 512_u32.to_ne_bytes());
        assert_eq!(built[16..20], 312_u32.to_ne_bytes());
        assert_eq!(&built[48..53], b"log0\0");
        assert_eq!(&built[320..332], b"mark acks:1\0");
        assert!(message(&"x".repeat(128), "mark 1").is_none());
        assert!(message("log0", &"x".repeat(192)).is_none());
    }
}
