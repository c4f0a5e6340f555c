//! A program that decides on changes of access states which initiators ask for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lunforge::alua::{StateChange, StpgAgent, StpgRefused, StpgRequest};

use super::registry::Registry;

/// How long the program may take.
const LIMIT: Duration = Duration::from_secs(17);
/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Asks a program as SCST's stpgd does: for each change of a SET TARGET PORT GROUPS command it is started with the
/// device, the state before, the state that is asked for, the device group and the target group. It grants the change by
/// ending with success, and may make it by itself; it has 17 seconds for all of them.
pub struct StpgScript {
    program: PathBuf,
    registry: Weak<Registry>,
}

impl std::fmt::Debug for StpgScript {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StpgScript")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl StpgScript {
    pub(super) fn new(program: &Path, registry: &Arc<Registry>) -> Self {
        Self {
            program: program.to_owned(),
            registry: Arc::downgrade(registry),
        }
    }

    fn ask(
        &self,
        request: &StpgRequest,
        change: &StateChange,
        end: Instant,
    ) -> Result<(), StpgRefused> {
        let registry = self.registry.upgrade();
        let named = registry.map(|registry| {
            let device = registry.device_of(&request.unit);
            let group = registry.group(&request.device_group);
            (
                device,
                group.and_then(|group| group.target_group(change.group)),
            )
        });
        let (device, target_group) = named.unwrap_or_default();
        let words = [
            ("SCST_DEVICE", device.unwrap_or_default()),
            ("SCST_PREVIOUS_STATE", change.from.to_string()),
            ("SCST_NEW_STATE", change.to.to_string()),
            ("SCST_DEVICE_GROUP", request.device_group.clone()),
            ("SCST_TARGET_GROUP", target_group.unwrap_or_default()),
        ];
        let mut command = Command::new(&self.program);
        command.args(words.iter().map(|(_, value)| value));
        command.envs(words.iter().map(|(name, value)| (name, value)));
        run(command.stdin(Stdio::null()), &self.program, end)
    }
}

impl StpgAgent for StpgScript {
    fn set_target_port_groups(&self, request: &StpgRequest) -> Result<(), StpgRefused> {
        let end = Instant::now() + LIMIT;
        let mut changes = request.changes.iter();
        changes.try_for_each(|change| self.ask(request, change, end))
    }

    fn time_limit(&self) -> Duration {
        LIMIT + Duration::from_secs(1)
    }
}

fn run(command: &mut Command, program: &Path, end: Instant) -> Result<(), StpgRefused> {
    let program = program.display();
    let failed = |error: std::io::Error| StpgRefused(format!("cannot run {program}: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    loop {
        match child.try_wait().map_err(failed)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(StpgRefused(format!("{program} refused: {status}"))),
            None if Instant::now() >= end => {
                // It may have ended just now; its end is waited for either way.
                let _ = child.kill();
                let _ = child.wait();
                return Err(StpgRefused(format!("{program} did not end in time")));
            }
            None => std::thread::sleep(LOOK),
        }
    }
}
