//! What initiators see of a target, changed in one step.

use std::sync::Arc;

use lunforge::core::target::{Draft, TargetError};

use super::super::device::Device;
use super::super::wanted::Wanted;
use super::super::{Done, Live};
use crate::manage::{Change, Failure, Model};
use crate::tree::{Kind, Path};

/// A change, and the device that it puts under a LUN.
struct Part<'a> {
    change: &'a Change,
    device: Option<Arc<Device>>,
    read_only: bool,
}

impl Live {
    pub(in crate::live) fn change_at_once(
        &mut self,
        path: &Path,
        changes: &[Change],
        model: &Model,
    ) -> Done {
        let parts = changes.iter().map(|change| self.part(change, model));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let each = |draft: &mut Draft<'_>| parts.iter().try_for_each(|part| part.draw(draft));
        self.target(path)?.each(|core| core.edit(each))?;
        for part in &parts {
            self.note(part)?;
        }
        Ok(())
    }

    fn part<'a>(&self, change: &'a Change, model: &Model) -> Result<Part<'a>, Failure> {
        let (device, read_only) = match change {
            Change::Create { path, attributes } if path.kind() == Kind::Lun => {
                let given = attributes;
                let wanted = Wanted { path, given, model };
                let device = wanted.given("device").unwrap_or_default();
                (Some(self.device(device)?), wanted.flag("read_only"))
            }
            Change::Replace { device, .. } => (Some(self.device(device)?), false),
            _ => (None, false),
        };
        Ok(Part {
            change,
            device,
            read_only,
        })
    }

    /// Which devices are LUNs now.
    fn note(&mut self, part: &Part<'_>) -> Done {
        let path = part.change.path();
        if path.kind() != Kind::Lun {
            return Ok(());
        }
        let place = self.place(path)?;
        self.leave_place(path);
        if let Some(device) = &part.device {
            self.enter_place(path, device, place);
        }
        Ok(())
    }
}

impl Part<'_> {
    fn draw(&self, draft: &mut Draft<'_>) -> Result<(), TargetError> {
        let path = self.change.path();
        let group = path.name_of(Kind::Group);
        let lun = path.keys().last().and_then(|key| key.number());
        let within = group.unwrap_or_default();
        match (self.change, path.kind()) {
            (Change::Create { .. }, Kind::Group) => draft.add_group(path.name()),
            (Change::Remove { .. }, Kind::Group) => draft.remove_group(path.name()),
            (Change::Order { before, .. }, _) => draft.place_group(path.name(), before.as_deref()),
            (Change::Create { .. }, Kind::Initiator) => draft.add_initiator(within, path.name()),
            (Change::Remove { .. }, Kind::Initiator) => draft.remove_initiator(within, path.name()),
            (Change::Move { group, .. }, _) => draft.move_initiator(within, path.name(), group),
            (Change::Remove { .. }, Kind::Lun) => draft.remove_lun(group, lun.unwrap_or_default()),
            _ => {
                let (Some(device), Some(lun)) = (&self.device, lun) else {
                    return Ok(());
                };
                let unit = Arc::clone(&device.parts().unit);
                match self.change {
                    Change::Replace { .. } => draft.replace_lun(group, lun, unit),
                    _ => draft.add_lun(group, u64::from(lun), unit, self.read_only),
                }
            }
        }
    }
}
