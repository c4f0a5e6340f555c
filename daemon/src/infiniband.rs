//! `lunforge serve` on InfiniBand: initiators that ask a port what it offers are told of the service of `ib_srpt`.

use std::num::NonZero;

use lunforge::srp::PortId;
use lunforge::srp::io::Limits;
use lunforge::srp::proto::mad::{IoUnit, Profile};
use lunforge::srp::verbs::{DeviceManagement, MadPorts, ServedUnit, ServicePort, VerbsError};

/// What the ports are called, as initiators show it.
const NAME: &str = "Lunforge SRP target";

/// The InfiniBand ports, open for what is asked of them.
#[derive(Debug)]
pub(crate) struct Infiniband {
    ports: DeviceManagement,
    unit: IoUnit,
}

impl Infiniband {
    /// Opens the ports while there are rights for it. `None` where there are none, or where initiators have to be told by
    /// hand (`login_info`).
    pub(crate) fn open(port: u16, guid: Option<u64>, limits: &Limits) -> Option<Self> {
        let unit = unit(ServicePort(NonZero::new(port)?), guid?, limits);
        match DeviceManagement::open(MadPorts::InfiniBand) {
            Ok(ports) => Some(Self { ports, unit }),
            Err(VerbsError::NoInfiniBand) => None,
            Err(error) => {
                tracing::warn!(%error, "initiators do not find out SRP targets on InfiniBand by themselves");
                None
            }
        }
    }

    /// Answers until what is returned is dropped.
    pub(crate) fn serve(self) -> Option<ServedUnit> {
        self.ports
            .serve(self.unit)
            .inspect_err(
                |error| tracing::warn!(%error, "nothing is answered on ports of InfiniBand"),
            )
            .ok()
    }
}

/// One controller and one service, as SCST has it: which target is meant says the port at which an initiator comes in.
fn unit(service: ServicePort, guid: u64, limits: &Limits) -> IoUnit {
    let profile = Profile {
        send_depth: u16::try_from(limits.requests).unwrap_or(u16::MAX),
        send_len: u32::try_from(limits.request_bytes).unwrap_or(u32::MAX),
        ..Profile::srp(guid, NAME)
    };
    IoUnit::srp([PortId::new(guid, guid)], service.service_id(), &profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initiators_are_told_of_one_service_by_its_guid_and_of_the_limits() {
        let limits = Limits {
            requests: 100_000,
            request_bytes: 4096,
            ..Limits::default()
        };
        let guid = 0x0002_C903_0000_0001;
        let unit = unit(ServicePort(NonZero::new(5555).unwrap()), guid, &limits);
        let [controller] = &unit.controllers[..] else {
            panic!("{unit:?}");
        };
        assert_eq!(controller.profile.guid, guid);
        assert_eq!(controller.profile.send_depth, u16::MAX);
        assert_eq!(controller.profile.send_len, 4096);
        let [service] = &controller.services[..] else {
            panic!("{unit:?}");
        };
        assert_eq!((service.extension(), service.id), (Some(guid), 0x013F_15B3));
    }

    #[test]
    fn without_a_port_or_a_guid_nobody_is_told_anything() {
        let limits = Limits::default();
        assert!(Infiniband::open(0, Some(1), &limits).is_none());
        assert!(Infiniband::open(5555, None, &limits).is_none());
    }
}
