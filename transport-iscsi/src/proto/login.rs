//! Login phase as a sans-IO state machine (RFC 7143 §6.3, §11.12, §11.13).
//!
//! ```text
//!   first request ─► SecurityNegotiation ─► LoginOperationalNegotiation ─► FullFeaturePhase
//!        │                   └──────────────────────────────────────────────────▲
//!        └───────────────────────────► LoginOperationalNegotiation (no authentication needed)
//! ```
//!
//! [`LoginMachine::handle`] takes the machine and one [`LoginRequest`] and gives a [`LoginStep`]: the reply to
//! send and what comes next. A machine whose login has ended no longer exists. Targets, accounts and sessions
//! are asked of a [`LoginPolicy`]; randomness comes in by [`Random`](super::chap::Random). The machine holds no
//! clock: the caller bounds the time of a login, the machine bounds its exchanges and bytes.

mod access;
mod failure;
mod machine;
mod operational;
mod policy;
mod security;

pub use access::{Access, NotAName};
pub use failure::{LoginFailure, LoginStatus};
pub use machine::LoginMachine;
pub use policy::{
    Admission, AuthConfig, LoginPolicy, SessionLookup, SessionQuery, TargetLogin, TargetLookup,
};

use super::keys::{OperationalParams, TargetParams};

/// Longest iSCSI name in bytes (RFC 7143 §4.2.7.1).
pub const MAX_NAME_LEN: usize = 223;
/// Most Login Requests of one login. A real initiator needs fewer than ten.
pub const MAX_EXCHANGES: u32 = 64;

/// A Login Request as the PDU layer has decoded it (RFC 7143 §11.12).
#[derive(Debug, Clone, Copy, Default)]
pub struct LoginRequest<'a> {
    /// T bit.
    pub transit: bool,
    /// C bit.
    pub cont: bool,
    /// CSG, 0 to 3.
    pub csg: u8,
    /// NSG, 0 to 3; meaningful with T only.
    pub nsg: u8,
    /// Version-max.
    pub version_max: u8,
    /// Version-min.
    pub version_min: u8,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH.
    pub tsih: u16,
    /// CID.
    pub cid: u16,
    /// Initiator Task Tag.
    pub itt: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// Data segment without padding.
    pub data: &'a [u8],
}

/// A Login Response for the PDU layer to encode (RFC 7143 §11.13). Version-max and Version-active are 0.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginReply {
    /// Status-Class and Status-Detail.
    pub status: LoginStatus,
    /// CSG.
    pub csg: u8,
    /// NSG; 0 without T.
    pub nsg: u8,
    /// T bit.
    pub transit: bool,
    /// C bit: never set, as no answer exceeds one PDU.
    pub cont: bool,
    /// TSIH: the new session's in the last reply, else the request's.
    pub tsih: u16,
    /// Data segment, at most 8192 bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for LoginReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold CHAP responses: only its size is shown.
        f.debug_struct("LoginReply")
            .field("status", &self.status)
            .field("csg", &self.csg)
            .field("nsg", &self.nsg)
            .field("transit", &self.transit)
            .field("tsih", &self.tsih)
            .field("data_len", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Outcome of one Login Request.
#[derive(Debug)]
pub struct LoginStep {
    /// To be sent in every case.
    pub reply: LoginReply,
    /// What comes after it.
    pub next: LoginNext,
}

/// What comes after a Login Response.
#[derive(Debug)]
pub enum LoginNext {
    /// Another Login Request.
    Continue(Box<LoginMachine>),
    /// The full feature phase.
    Done(Box<LoggedIn>),
    /// Nothing: the connection is closed after the reply. Delay repeated authentication failures first.
    Failed {
        /// Why.
        failure: LoginFailure,
        /// InitiatorName; empty if it was not told.
        initiator: String,
    },
}

/// Kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionType {
    /// SCSI commands to one target.
    Normal,
    /// SendTargets only.
    Discovery,
}

/// A finished login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Kind of session.
    pub session_type: SessionType,
    /// InitiatorName, as sent.
    pub initiator_name: String,
    /// InitiatorAlias.
    pub initiator_alias: Option<String>,
    /// ISID; with the name it makes the initiator port. An older session of the same port is to be reinstated.
    pub isid: [u8; 6],
    /// TSIH that the last reply carries.
    pub tsih: u16,
    /// The session exists and goes on with this connection in place of its old one, which has the same CID (RFC 7143
    /// §6.3.4).
    pub continues: bool,
    /// CID.
    pub cid: u16,
    /// TargetName; `None` in a discovery session.
    pub target_name: Option<String>,
    /// What was negotiated.
    pub params: OperationalParams,
    /// The target's own parameters, for what is not negotiated (command window, timers).
    pub target_params: TargetParams,
    /// Portal group that was logged in to.
    pub portal_group_tag: u16,
    /// CHAP account that proved itself.
    pub auth_user: Option<String>,
    /// CmdSN of the last request: the first command carries the same, for login requests are immediate.
    pub cmd_sn: u32,
    /// ExpStatSN of the last request.
    pub exp_stat_sn: u32,
}

#[cfg(test)]
mod tests;
