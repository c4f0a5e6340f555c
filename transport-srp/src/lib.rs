//! SCSI RDMA Protocol, the second transport.
//!
//! Empty so far. What it will plug into stands: [`lunforge_core::engine::Transport`] and [`lunforge_core::Source`].
