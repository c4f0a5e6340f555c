//! What the machine is given at its start.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use lunforge::Ladder;
use lunforge::pr::OnDamage;

/// Below this path are files of SCST, in another format: a name there is kept as text.
const OF_SCST: &str = "/var/lib/scst/";
/// Folders of the state.
const RESERVATIONS: &str = "pr";
const PARAMETERS: &str = "modes";

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder in which devices keep what outlives a restart, which exists and belongs to this process alone: their
    /// reservations (APTPL) and their saved mode parameters. `None`: nothing outlives it, unless a device names a file.
    pub state: Option<PathBuf>,
    /// What kept reservations mean that cannot be read.
    pub on_damage: OnDamage,
    /// The times that devices keep.
    pub ladder: Ladder,
    /// Where the driver listens when it is enabled and the configuration does not say where; none: at port 3260 of all
    /// addresses.
    pub portals: Vec<SocketAddr>,
    /// Whether the process is confined: for what is said of files and ports that are out of its reach.
    pub confined: bool,
    /// Whether rings are made when a device is opened: for a process that forbids itself io_uring_setup(2).
    pub ring_at_open: bool,
    /// A program that is asked when an initiator wants to change access states (SET TARGET PORT GROUPS); see
    /// [`StpgScript`](super::StpgScript).
    pub on_stpg: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state: None,
            on_damage: OnDamage::RefuseMediumAccess,
            ladder: Ladder::default(),
            portals: Vec::new(),
            confined: false,
            ring_at_open: false,
            on_stpg: None,
        }
    }
}

impl Settings {
    /// Makes the folders of the state that are missing.
    ///
    /// # Errors
    /// Of the file system.
    pub fn prepare(&self) -> io::Result<()> {
        for name in [RESERVATIONS, PARAMETERS] {
            if let Some(folder) = &self.state {
                let mut builder = std::fs::DirBuilder::new();
                builder.mode(0o700).recursive(true);
                builder.create(folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Where the reservations of a device are kept, for which the configuration names `given`.
    pub(super) fn reservations(&self, device: &str, given: Option<&str>) -> Option<PathBuf> {
        match given {
            Some(path) if !path.starts_with(OF_SCST) => Some(path.into()),
            _ => self.file(RESERVATIONS, device),
        }
    }

    /// Where the saved mode parameters of a device are kept.
    pub(super) fn parameters(&self, device: &str) -> Option<PathBuf> {
        self.file(PARAMETERS, device)
    }

    fn file(&self, folder: &str, device: &str) -> Option<PathBuf> {
        let state: &Path = self.state.as_deref()?;
        Some(state.join(folder).join(plain(device)))
    }
}

/// A file's name for a name that may hold any character.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            plain.push(c);
        } else {
            plain += &format!("%{:x}", u32::from(c));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_device_stay_in_the_state_and_those_of_scst_are_not_touched() {
        let state = Some(PathBuf::from("/state"));
        let settings = Settings {
            state,
            ..Settings::default()
        };
        let at = |device, given| settings.reservations(device, given).unwrap();
        assert_eq!(at("vg1", None), Path::new("/state/pr/vg1"));
        assert_eq!(at("../x", None), Path::new("/state/pr/%2e%2e%2fx"));
        assert_eq!(
            at("vg1", Some("/var/lib/scst/pr/vg1")),
            Path::new("/state/pr/vg1")
        );
        assert_eq!(at("vg1", Some("/srv/pr")), Path::new("/srv/pr"));
        let nothing = Settings::default();
        assert_eq!(nothing.reservations("vg1", None), None);
        assert_eq!(nothing.parameters("vg1"), None);
    }
}
