//! RDMA by rdma-core: RoCE, iWARP and InfiniBand with RDMA/CM.
//!
//! The libraries are opened when a listener is, so a machine without them builds and runs everything else. This is the only
//! module of the crate with unsafe code: `ffi` has the functions and the layouts that rdma-core promises, which a test
//! compares with its headers; `cm`, `listener`, `device`, `memory` and `queues` use them; `umad` has those of management datagrams.
//!
//! Each endpoint has a completion queue and an event channel of its own, joined in an epoll set that its shard watches
//! (`queues`). All memory is the shard's: information units arrive in its buffers and leave from one (`places`), and hardware
//! moves data between them and the initiator. A segment of it is registered once (`memory`). Who a completion is for is
//! decided without hardware (`work`).

mod address;
mod cm;
mod device;
mod endpoint;
mod events;
mod ffi;
mod listener;
mod mad;
mod memory;
mod places;
mod port;
mod queues;
mod quota;
mod receives;
mod shared;
mod umad;
mod work;

use std::io;
use std::net::SocketAddr;

pub use address::ServicePort;
pub use events::{DeviceEvents, device_events};
pub use listener::VerbsListener;
pub use mad::{DeviceManagement, MadPorts, ServedUnit};

/// Opens rdma-core, and looks whether the kernel has RDMA/CM. No device is opened.
///
/// For a process that gives up rights: a device, and RDMA/CM, takes commands only from threads with the credentials with which
/// it was opened (`ib_safe_file_access` of Linux), and librdmacm keeps devices open. So listeners are bound when rights are
/// given up, and the libraries loaded before.
///
/// # Errors
/// [`VerbsError::Library`], [`VerbsError::ConnectionManager`].
pub fn load() -> Result<(), VerbsError> {
    let verbs = ffi::Verbs::open()?;
    let events = cm::Events::new(&verbs);
    events.map(drop).map_err(VerbsError::ConnectionManager)
}

/// Why no RDMA listener can be had.
#[derive(Debug, thiserror::Error)]
pub enum VerbsError {
    /// rdma-core is not installed, or too old.
    #[error("SRP needs rdma-core, and {library} cannot be used: {reason}")]
    Library {
        /// The library.
        library: &'static str,
        /// What the dynamic linker says.
        reason: String,
    },
    /// The kernel has no RDMA connection manager for user space.
    #[error("SRP needs the kernel's RDMA connection manager (rdma_ucm): {0}")]
    ConnectionManager(#[source] io::Error),
    /// No RDMA device has the address, or the port is taken.
    #[error("cannot listen for RDMA connections on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The service id is taken, or its port is one for who has more rights.
    #[error("cannot listen for InfiniBand connections on service id {port}: {source}")]
    Service {
        /// The service id.
        port: ServicePort,
        /// Why.
        source: io::Error,
    },
    /// There is nothing that a service id could be reached through.
    #[error(
        "no RDMA device has an InfiniBand port, and a service id is reached through one: for RoCE and iWARP listen on an address"
    )]
    NoInfiniBand,
    /// The datagrams of device management of a port cannot be had.
    #[error(
        "cannot answer what initiators ask of {port}: {source}; it takes root, the module ib_umad, and that ib_srpt is not loaded"
    )]
    Management {
        /// The port.
        port: String,
        /// Why.
        source: io::Error,
    },
}
