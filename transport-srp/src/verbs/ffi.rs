//! What is used of libibverbs and librdmacm: functions by name, structures by layout.
//!
//! Structures that are only pointed to are cut behind the last field that is used.

#![allow(
    unsafe_code,
    reason = "symbols of a shared library have the types that its headers say"
)]

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::sync::{Arc, OnceLock};

use libloading::Library;
use zerocopy::IntoBytes;

use super::VerbsError;

/// `struct ibv_context`.
#[repr(C)]
pub(super) struct Context {
    pub(super) device: *mut Device,
    /// Of `struct ibv_context_ops`.
    before_poll_cq: [*const c_void; 11],
    pub(super) poll_cq: unsafe extern "C" fn(*mut Cq, c_int, *mut Wc) -> c_int,
    pub(super) req_notify_cq: unsafe extern "C" fn(*mut Cq, c_int) -> c_int,
    before_post_srq_recv: [*const c_void; 7],
    pub(super) post_srq_recv:
        unsafe extern "C" fn(*mut Srq, *mut RecvWr, *mut *mut RecvWr) -> c_int,
    before_post_send: [*const c_void; 4],
    pub(super) post_send: unsafe extern "C" fn(*mut Qp, *mut SendWr, *mut *mut SendWr) -> c_int,
    pub(super) post_recv: unsafe extern "C" fn(*mut Qp, *mut RecvWr, *mut *mut RecvWr) -> c_int,
    before_cmd_fd: [*const c_void; 5],
    cmd_fd: c_int,
    pub(super) async_fd: c_int,
}

/// `struct ibv_srq`.
#[repr(C)]
pub(super) struct Srq {
    pub(super) context: *mut Context,
}

/// `struct ibv_srq_init_attr`.
#[repr(C)]
pub(super) struct SrqInitAttr {
    pub(super) srq_context: *mut c_void,
    pub(super) max_wr: u32,
    pub(super) max_sge: u32,
    pub(super) srq_limit: u32,
}

/// `struct ibv_device`.
#[repr(C)]
pub(super) struct Device {
    ops: [*const c_void; 2],
    node_type: c_int,
    pub(super) transport_type: c_int,
    pub(super) name: [u8; 64],
}

/// `struct ibv_async_event`.
#[repr(C)]
#[derive(Default)]
pub(super) struct AsyncEvent {
    /// The address of what it is about, or the number of a port.
    pub(super) element: usize,
    pub(super) event_type: c_uint,
}

/// `struct ibv_device_attr`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DeviceAttr {
    fw_ver: [u8; 64],
    before_vendor_id: [u64; 4],
    before_max_qp: [u32; 3],
    max_qp: c_int,
    pub(super) max_qp_wr: c_int,
    before_max_cqe: [c_int; 4],
    pub(super) max_cqe: c_int,
    pub(super) max_mr: c_int,
    max_pd: c_int,
    pub(super) max_qp_rd_atom: c_int,
    before_init_rd_atom: [c_int; 2],
    pub(super) max_qp_init_rd_atom: c_int,
    before_max_srq: [c_int; 13],
    pub(super) max_srq: c_int,
    pub(super) max_srq_wr: c_int,
    rest: [c_int; 3],
}

/// `struct ibv_cq`.
#[repr(C)]
pub(super) struct Cq {
    pub(super) context: *mut Context,
}

/// `struct ibv_qp`.
#[repr(C)]
pub(super) struct Qp {
    pub(super) context: *mut Context,
}

/// `struct ibv_pd`.
#[repr(C)]
pub(super) struct Pd {
    context: *mut Context,
}

/// `struct ibv_comp_channel`.
#[repr(C)]
pub(super) struct CompChannel {
    context: *mut Context,
    pub(super) fd: c_int,
}

/// `struct ibv_mr`.
#[repr(C)]
pub(super) struct Mr {
    context: *mut Context,
    pd: *mut Pd,
    addr: *mut c_void,
    length: usize,
    handle: u32,
    pub(super) lkey: u32,
}

/// `struct ibv_sge`.
#[repr(C)]
pub(super) struct Sge {
    pub(super) addr: u64,
    pub(super) length: u32,
    pub(super) lkey: u32,
}

/// `struct ibv_send_wr`.
#[repr(C)]
pub(super) struct SendWr {
    pub(super) wr_id: u64,
    pub(super) next: *mut SendWr,
    pub(super) sg_list: *mut Sge,
    pub(super) num_sge: c_int,
    pub(super) opcode: c_uint,
    pub(super) send_flags: c_uint,
    pub(super) imm_data: u32,
    pub(super) remote_addr: u64,
    pub(super) rkey: u32,
    pub(super) rest: [u32; 19],
}

/// `struct ibv_recv_wr`.
#[repr(C)]
pub(super) struct RecvWr {
    pub(super) wr_id: u64,
    pub(super) next: *mut RecvWr,
    pub(super) sg_list: *mut Sge,
    pub(super) num_sge: c_int,
}

/// `struct ibv_wc`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Wc {
    pub(super) wr_id: u64,
    pub(super) status: c_uint,
    opcode: c_uint,
    vendor_err: u32,
    pub(super) byte_len: u32,
    imm_data: u32,
    qp_num: u32,
    src_qp: u32,
    wc_flags: c_uint,
    pkey_index: u16,
    slid: u16,
    sl: u8,
    dlid_path_bits: u8,
}

/// `struct ibv_qp_init_attr`.
#[repr(C)]
pub(super) struct QpInitAttr {
    pub(super) qp_context: *mut c_void,
    pub(super) send_cq: *mut Cq,
    pub(super) recv_cq: *mut Cq,
    pub(super) srq: *mut Srq,
    pub(super) max_send_wr: u32,
    pub(super) max_recv_wr: u32,
    pub(super) max_send_sge: u32,
    pub(super) max_recv_sge: u32,
    pub(super) max_inline_data: u32,
    pub(super) qp_type: c_uint,
    pub(super) sq_sig_all: c_int,
}

/// `struct rdma_event_channel`.
#[repr(C)]
pub(super) struct EventChannel {
    pub(super) fd: c_int,
}

/// `struct rdma_cm_id`.
#[repr(C)]
pub(super) struct CmId {
    pub(super) verbs: *mut Context,
    channel: *mut EventChannel,
    context: *mut c_void,
    pub(super) qp: *mut Qp,
    pub(super) src_addr: [u8; 128],
    pub(super) dst_addr: [u8; 128],
    /// Of `route.addr.addr.ibaddr`.
    pub(super) sgid: [u8; 16],
}

/// `struct rdma_conn_param`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ConnParam {
    pub(super) private_data: *const c_void,
    pub(super) private_data_len: u8,
    pub(super) responder_resources: u8,
    pub(super) initiator_depth: u8,
    pub(super) flow_control: u8,
    pub(super) retry_count: u8,
    pub(super) rnr_retry_count: u8,
    pub(super) srq: u8,
    pub(super) qp_num: u32,
}

/// `struct rdma_cm_event`.
#[repr(C)]
pub(super) struct CmEvent {
    pub(super) id: *mut CmId,
    listen_id: *mut CmId,
    pub(super) event: c_uint,
    pub(super) status: c_int,
    pub(super) conn: ConnParam,
}

/// `struct sockaddr_ib`.
#[repr(C)]
#[derive(Clone, Copy, Default, zerocopy::IntoBytes, zerocopy::Immutable)]
pub(super) struct SockaddrIb {
    pub(super) family: u16,
    pub(super) pkey: [u8; 2],
    pub(super) flow_info: [u8; 4],
    pub(super) gid: [u8; 16],
    pub(super) service_id: [u8; 8],
    pub(super) service_mask: [u8; 8],
    pub(super) scope_id: u64,
}

impl SockaddrIb {
    /// It at the start of a `sockaddr_storage`.
    pub(super) fn storage(&self) -> [u8; 128] {
        let mut out = [0; 128];
        let to = out.iter_mut();
        to.zip(self.as_bytes()).for_each(|(to, from)| *to = *from);
        out
    }
}

/// `enum ibv_wc_status`.
pub(super) const WC_SUCCESS: c_uint = 0;
pub(super) const WC_WR_FLUSH_ERR: c_uint = 5;
/// `IBV_TRANSPORT_IWARP`.
pub(super) const TRANSPORT_IWARP: c_int = 1;
/// `enum ibv_event_type`.
pub(super) mod event {
    pub(in crate::verbs) const CQ_ERR: u32 = 0;
    pub(in crate::verbs) const QP_FATAL: u32 = 1;
    pub(in crate::verbs) const QP_REQ_ERR: u32 = 2;
    pub(in crate::verbs) const QP_ACCESS_ERR: u32 = 3;
    pub(in crate::verbs) const COMM_EST: u32 = 4;
    pub(in crate::verbs) const PATH_MIG: u32 = 6;
    pub(in crate::verbs) const PATH_MIG_ERR: u32 = 7;
    pub(in crate::verbs) const DEVICE_FATAL: u32 = 8;
    pub(in crate::verbs) const PORT_ACTIVE: u32 = 9;
    pub(in crate::verbs) const PORT_ERR: u32 = 10;
    pub(in crate::verbs) const SRQ_ERR: u32 = 14;
    pub(in crate::verbs) const SRQ_LIMIT_REACHED: u32 = 15;
    pub(in crate::verbs) const QP_LAST_WQE_REACHED: u32 = 16;
}
/// `enum ibv_wr_opcode`.
pub(super) mod wr {
    pub(in crate::verbs) const RDMA_WRITE: u32 = 0;
    pub(in crate::verbs) const SEND: u32 = 2;
    pub(in crate::verbs) const RDMA_READ: u32 = 4;
}
/// `enum ibv_send_flags`.
pub(super) mod send_flag {
    pub(in crate::verbs) const SIGNALED: u32 = 2;
    pub(in crate::verbs) const SOLICITED: u32 = 4;
    pub(in crate::verbs) const INLINE: u32 = 8;
}
/// `enum ibv_access_flags`.
pub(super) mod access {
    pub(in crate::verbs) const LOCAL_WRITE: i32 = 1;
    pub(in crate::verbs) const REMOTE_WRITE: i32 = 2;
}
/// `IBV_QPT_RC`.
pub(super) const QPT_RC: c_uint = 2;
/// `RDMA_PS_TCP`.
pub(super) const PS_TCP: c_uint = 0x0106;
/// `RDMA_PS_IB`.
pub(super) const PS_IB: c_uint = 0x013F;
/// `enum rdma_cm_event_type`.
pub(super) mod cm {
    pub(in crate::verbs) const CONNECT_REQUEST: u32 = 4;
    pub(in crate::verbs) const CONNECT_ERROR: u32 = 6;
    pub(in crate::verbs) const UNREACHABLE: u32 = 7;
    pub(in crate::verbs) const REJECTED: u32 = 8;
    pub(in crate::verbs) const ESTABLISHED: u32 = 9;
    pub(in crate::verbs) const DISCONNECTED: u32 = 10;
    pub(in crate::verbs) const DEVICE_REMOVAL: u32 = 11;
    pub(in crate::verbs) const ADDR_CHANGE: u32 = 14;
}

macro_rules! functions {
    ($($library:ident $name:ident($($arg:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, and the libraries that have them.
        pub(super) struct Verbs {
            $(pub(super) $name: unsafe extern "C" fn($($arg),*) $(-> $result)?,)*
            _libraries: [Library; 2],
        }

        impl Verbs {
            fn load() -> Result<Arc<Self>, VerbsError> {
                let verbs = library("libibverbs.so.1")?;
                let rdmacm = library("librdmacm.so.1")?;
                Ok(Arc::new(Self {
                    $($name: {
                        let (library, file) = match stringify!($library) {
                            "verbs" => (&verbs, "libibverbs.so.1"),
                            _ => (&rdmacm, "librdmacm.so.1"),
                        };
                        // SAFETY: the symbol has this type in the library's header, and the library is kept.
                        let symbol = unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) };
                        *symbol.map_err(|error| unusable(file, &error))?
                    },)*
                    _libraries: [verbs, rdmacm],
                }))
            }
        }
    };
}

/// Once opened the libraries stay: they keep devices open and load others, and are not made to be unloaded.
static OPEN: OnceLock<Arc<Verbs>> = OnceLock::new();

impl Verbs {
    /// Opens the libraries.
    pub(super) fn open() -> Result<Arc<Self>, VerbsError> {
        if let Some(open) = OPEN.get() {
            return Ok(Arc::clone(open));
        }
        let loaded = Self::load()?;
        Ok(Arc::clone(OPEN.get_or_init(|| loaded)))
    }
}

fn library(name: &'static str) -> Result<Library, VerbsError> {
    // SAFETY: rdma-core's libraries may be loaded at any time; their constructors do nothing that concerns others.
    unsafe { Library::new(name) }.map_err(|error| unusable(name, &error))
}

fn unusable(library: &'static str, error: &libloading::Error) -> VerbsError {
    VerbsError::Library {
        library,
        reason: error.to_string(),
    }
}

functions! {
    verbs ibv_query_device(*mut Context, *mut DeviceAttr) -> c_int;
    verbs ibv_alloc_pd(*mut Context) -> *mut Pd;
    verbs ibv_dealloc_pd(*mut Pd) -> c_int;
    verbs ibv_reg_mr(*mut Pd, *mut c_void, usize, c_int) -> *mut Mr;
    verbs ibv_dereg_mr(*mut Mr) -> c_int;
    verbs ibv_get_async_event(*mut Context, *mut AsyncEvent) -> c_int;
    verbs ibv_ack_async_event(*mut AsyncEvent);
    verbs ibv_create_srq(*mut Pd, *mut SrqInitAttr) -> *mut Srq;
    verbs ibv_destroy_srq(*mut Srq) -> c_int;
    verbs ibv_create_comp_channel(*mut Context) -> *mut CompChannel;
    verbs ibv_destroy_comp_channel(*mut CompChannel) -> c_int;
    verbs ibv_create_cq(*mut Context, c_int, *mut c_void, *mut CompChannel, c_int) -> *mut Cq;
    verbs ibv_destroy_cq(*mut Cq) -> c_int;
    verbs ibv_get_cq_event(*mut CompChannel, *mut *mut Cq, *mut *mut c_void) -> c_int;
    verbs ibv_ack_cq_events(*mut Cq, c_uint);
    rdmacm rdma_create_event_channel() -> *mut EventChannel;
    rdmacm rdma_destroy_event_channel(*mut EventChannel);
    rdmacm rdma_create_id(*mut EventChannel, *mut *mut CmId, *mut c_void, c_uint) -> c_int;
    rdmacm rdma_destroy_id(*mut CmId) -> c_int;
    rdmacm rdma_bind_addr(*mut CmId, *mut c_void) -> c_int;
    rdmacm rdma_listen(*mut CmId, c_int) -> c_int;
    rdmacm rdma_get_cm_event(*mut EventChannel, *mut *mut CmEvent) -> c_int;
    rdmacm rdma_ack_cm_event(*mut CmEvent) -> c_int;
    rdmacm rdma_migrate_id(*mut CmId, *mut EventChannel) -> c_int;
    rdmacm rdma_create_qp(*mut CmId, *mut Pd, *mut QpInitAttr) -> c_int;
    rdmacm rdma_destroy_qp(*mut CmId);
    rdmacm rdma_accept(*mut CmId, *mut ConnParam) -> c_int;
    rdmacm rdma_reject(*mut CmId, *const c_void, u8) -> c_int;
    rdmacm rdma_disconnect(*mut CmId) -> c_int;
    rdmacm rdma_notify(*mut CmId, c_uint) -> c_int;
    rdmacm rdma_get_devices(*mut c_int) -> *mut *mut Context;
    rdmacm rdma_free_devices(*mut *mut Context);
}

/// The error behind a call that returned less than zero or null.
pub(super) fn last_error() -> io::Error {
    io::Error::last_os_error()
}

/// `Ok` for zero.
pub(super) fn check(result: c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        -1 => Err(last_error()),
        code => Err(io::Error::from_raw_os_error(code.abs())),
    }
}

/// `Ok` for a pointer that is not null.
pub(super) fn some<T>(pointer: *mut T) -> io::Result<*mut T> {
    if pointer.is_null() {
        Err(last_error())
    } else {
        Ok(pointer)
    }
}

#[cfg(test)]
mod tests;
