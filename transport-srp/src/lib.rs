//! SCSI RDMA Protocol (SRP revision 16a), the second transport.

pub mod fabric;
pub mod proto;
