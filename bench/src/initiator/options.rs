//! How a session is asked for.

use super::chap::Chap;

/// How a session is asked for. Lengths are bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// InitiatorName.
    pub initiator_name: String,
    /// Initiator Session ID (RFC 7143 11.12.5).
    pub isid: [u8; 6],
    /// TSIH: 0 for a new session.
    pub tsih: u16,
    /// Connection ID.
    pub cid: u16,
    /// CmdSN the session starts with.
    pub cmd_sn: u32,
    /// Offer CRC32C header digests.
    pub header_digest: bool,
    /// Offer CRC32C data digests.
    pub data_digest: bool,
    /// Offer ImmediateData=Yes.
    pub immediate_data: bool,
    /// Ask for InitialR2T=Yes.
    pub initial_r2t: bool,
    /// MaxRecvDataSegmentLength declared by this side.
    pub max_recv_data_segment_length: u32,
    /// MaxBurstLength offered.
    pub max_burst_length: u32,
    /// FirstBurstLength offered.
    pub first_burst_length: u32,
    /// MaxOutstandingR2T offered.
    pub max_outstanding_r2t: u32,
    /// MaxConnections offered.
    pub max_connections: u32,
    /// ErrorRecoveryLevel offered.
    pub error_recovery_level: u32,
    /// CHAP, or none.
    pub chap: Option<Chap>,
    /// Start in the operational stage, without a security stage.
    pub skip_security: bool,
    /// More keys for the first operational request.
    pub extra_keys: Vec<(String, String)>,
    /// Longest wait for any single answer of the target.
    pub timeout: std::time::Duration,
    /// Answer NOP-In pings by itself.
    pub auto_nop: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            initiator_name: "iqn.2026-11.org.lunforge:bench".into(),
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
            cmd_sn: 1,
            header_digest: false,
            data_digest: false,
            immediate_data: true,
            initial_r2t: false,
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1 << 20,
            first_burst_length: 262_144,
            max_outstanding_r2t: 1,
            max_connections: 1,
            error_recovery_level: 0,
            chap: None,
            skip_security: false,
            extra_keys: Vec::new(),
            timeout: std::time::Duration::from_secs(10),
            auto_nop: true,
        }
    }
}

impl Options {
    /// Sets a random-qualified ISID whose last four bytes are `n` (RFC 7143 11.12.5, type 10b).
    pub fn isid_number(mut self, n: u32) -> Self {
        let [a, b, c, d] = n.to_be_bytes();
        self.isid = [0x80, 0, a, b, c, d];
        self
    }
}
