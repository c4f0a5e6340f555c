//! What login agreed, sequence numbers, and what a target may not do (sans-IO).

use super::pdu::Header;

/// A rule of RFC 7143 that the target broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// StatSN is not the next one (RFC 7143 4.2.2.2).
    #[error("StatSN {got:#x} in opcode {opcode:#04x}, expected {expected:#x}")]
    StatSn {
        /// Received.
        got: u32,
        /// ExpStatSN of this side.
        expected: u32,
        /// Opcode of the PDU.
        opcode: u8,
    },
    /// ExpCmdSN acknowledges what was never sent (RFC 7143 4.2.2.1).
    #[error("ExpCmdSN {got:#x} is beyond CmdSN {next:#x}")]
    ExpCmdSn {
        /// Received.
        got: u32,
        /// Next CmdSN of this side.
        next: u32,
    },
    /// MaxCmdSN below ExpCmdSN - 1 (RFC 7143 4.2.2.1).
    #[error("MaxCmdSN {max:#x} is below ExpCmdSN {expected:#x} - 1")]
    Window {
        /// MaxCmdSN received.
        max: u32,
        /// ExpCmdSN received.
        expected: u32,
    },
    /// A response names a task that is not outstanding.
    #[error("opcode {opcode:#04x} for unknown task tag {itt:#010x}")]
    UnknownTag {
        /// Opcode of the PDU.
        opcode: u8,
        /// The tag.
        itt: u32,
    },
    /// DataSN or R2TSN is not the next one (RFC 7143 4.2.2.3).
    #[error("{what} {got}, expected {expected}")]
    DataSn {
        /// `DataSN` or `R2TSN`.
        what: &'static str,
        /// Received.
        got: u32,
        /// Expected.
        expected: u32,
    },
    /// The buffer offset is out of order though DataPDUInOrder=Yes was agreed (RFC 7143 13.18).
    #[error("{what} at buffer offset {got}, expected {expected}")]
    Offset {
        /// `Data-In` or `R2T`.
        what: &'static str,
        /// Received, bytes.
        got: u32,
        /// Expected, bytes.
        expected: u32,
    },
    /// More data than the command asked for.
    #[error(
        "{what} of {len} bytes at offset {offset} passes the end of a {expected}-byte transfer"
    )]
    Beyond {
        /// `Data-In` or `R2T`.
        what: &'static str,
        /// Offset, bytes.
        offset: u32,
        /// Length, bytes.
        len: u32,
        /// Expected Data Transfer Length, bytes.
        expected: u32,
    },
    /// The PDU makes no sense for the direction of its task.
    #[error("{what} for a task without that direction")]
    Direction {
        /// `Data-In` or `R2T`.
        what: &'static str,
    },
    /// An R2T asks for nothing or more than MaxBurstLength (RFC 7143 11.8.4).
    #[error("R2T for {len} bytes, MaxBurstLength is {max_burst}")]
    R2tLength {
        /// Desired Data Transfer Length, bytes.
        len: u32,
        /// Negotiated, bytes.
        max_burst: u32,
    },
    /// Received bytes and residual do not add up (RFC 7143 11.4.5).
    #[error(
        "{received} bytes of {expected} received, residual flags {flags:#04x} count {residual}"
    )]
    Residual {
        /// Data-In bytes received.
        received: u32,
        /// Expected Data Transfer Length, bytes.
        expected: u32,
        /// U and O bits.
        flags: u8,
        /// Residual Count, bytes.
        residual: u32,
    },
    /// ExpDataSN of the response is not the number of Data-In and R2T PDUs (RFC 7143 11.4.8).
    #[error("ExpDataSN {got} in the response, {sent} Data-In or R2T PDUs received")]
    ExpDataSn {
        /// ExpDataSN received.
        got: u32,
        /// Count seen here.
        sent: u32,
    },
    /// A PDU the target may not send in this state.
    #[error("unexpected opcode {opcode:#04x}{detail}")]
    Unexpected {
        /// Opcode of the PDU.
        opcode: u8,
        /// More words, each with a leading blank, or nothing.
        detail: String,
    },
}

/// What login agreed (RFC 7143 13), lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// MaxRecvDataSegmentLength of the target: limit of what this side sends in one PDU.
    pub target_max_recv_data_segment_length: u32,
    /// MaxRecvDataSegmentLength of this side.
    pub max_recv_data_segment_length: u32,
    /// MaxBurstLength.
    pub max_burst_length: u32,
    /// FirstBurstLength.
    pub first_burst_length: u32,
    /// ImmediateData.
    pub immediate_data: bool,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// HeaderDigest is CRC32C.
    pub header_digest: bool,
    /// DataDigest is CRC32C.
    pub data_digest: bool,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// MaxConnections.
    pub max_connections: u32,
    /// ErrorRecoveryLevel.
    pub error_recovery_level: u32,
    /// Target Session Identifying Handle given by the target.
    pub tsih: u16,
    /// Every key the target sent, in order.
    pub keys: Vec<(String, String)>,
}

impl Negotiated {
    /// The value the target last sent for `key`.
    pub fn key(&self, key: &str) -> Option<&str> {
        self.keys
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// How many bytes of a write go with the command and how many follow unasked (RFC 7143 4.2.4.2).
    pub fn write_plan(&self, len: u32) -> WritePlan {
        let burst = len.min(self.first_burst_length);
        let immediate = if self.immediate_data {
            burst.min(self.target_max_recv_data_segment_length)
        } else {
            0
        };
        let unsolicited = if self.initial_r2t {
            0
        } else {
            burst - immediate
        };
        WritePlan {
            immediate,
            unsolicited,
        }
    }
}

/// Unsolicited part of a write, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WritePlan {
    /// Sent in the command PDU.
    pub immediate: u32,
    /// Sent as unsolicited Data-Out PDUs after it.
    pub unsolicited: u32,
}

/// CmdSN, ExpStatSN and the command window of one connection's session (RFC 7143 4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// CmdSN of the next non-immediate command.
    pub cmd_sn: u32,
    /// Next StatSN expected.
    pub exp_stat_sn: u32,
    /// Last ExpCmdSN received.
    pub exp_cmd_sn: u32,
    /// Last MaxCmdSN received.
    pub max_cmd_sn: u32,
}

/// Serial number comparison of RFC 1982: is `a` after `b`?
#[inline]
pub fn after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

impl Sequence {
    /// May another non-immediate command be sent?
    #[inline]
    pub fn window_open(&self) -> bool {
        !after(self.cmd_sn, self.max_cmd_sn)
    }

    /// Takes ExpCmdSN and MaxCmdSN from any target PDU; older ones are ignored as the RFC says.
    #[inline]
    pub fn update_window(&mut self, header: &Header) -> Result<(), Violation> {
        let (exp, max) = (header.exp_cmd_sn(), header.max_cmd_sn());
        if after(exp, self.cmd_sn) {
            return Err(Violation::ExpCmdSn {
                got: exp,
                next: self.cmd_sn,
            });
        }
        if after(exp.wrapping_sub(1), max) {
            return Err(Violation::Window { max, expected: exp });
        }
        if after(max, self.max_cmd_sn) {
            self.max_cmd_sn = max;
        }
        if after(exp, self.exp_cmd_sn) {
            self.exp_cmd_sn = exp;
        }
        Ok(())
    }

    /// Takes the StatSN of a PDU that carries one: it must be the next.
    #[inline]
    pub fn advance_stat_sn(&mut self, header: &Header) -> Result<(), Violation> {
        let got = header.stat_sn();
        if got != self.exp_stat_sn {
            let opcode = header.opcode();
            return Err(Violation::StatSn {
                got,
                expected: self.exp_stat_sn,
                opcode,
            });
        }
        self.exp_stat_sn = got.wrapping_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pdu::opcode;
    use super::*;

    fn params() -> Negotiated {
        Negotiated {
            target_max_recv_data_segment_length: 8192,
            max_recv_data_segment_length: 8192,
            max_burst_length: 16384,
            first_burst_length: 12288,
            immediate_data: true,
            initial_r2t: false,
            header_digest: false,
            data_digest: false,
            max_outstanding_r2t: 1,
            max_connections: 1,
            error_recovery_level: 0,
            tsih: 1,
            keys: Vec::new(),
        }
    }

    #[test]
    fn write_plan_never_passes_first_burst_or_the_target_segment_limit() {
        let mut p = params();
        assert_eq!(
            p.write_plan(65536),
            WritePlan {
                immediate: 8192,
                unsolicited: 4096
            }
        );
        assert_eq!(
            p.write_plan(512),
            WritePlan {
                immediate: 512,
                unsolicited: 0
            }
        );
        p.initial_r2t = true;
        assert_eq!(
            p.write_plan(65536),
            WritePlan {
                immediate: 8192,
                unsolicited: 0
            }
        );
        p.immediate_data = false;
        assert_eq!(
            p.write_plan(65536),
            WritePlan {
                immediate: 0,
                unsolicited: 0
            }
        );
    }

    #[test]
    fn window_survives_wrap_and_ignores_old_values() {
        let mut s = Sequence {
            cmd_sn: 1,
            exp_stat_sn: 5,
            exp_cmd_sn: 1,
            max_cmd_sn: 0xffff_fffe,
        };
        assert!(!s.window_open());
        let mut h = Header::new(opcode::NOP_IN);
        h.put_word(28, 1).put_word(32, 3);
        s.update_window(&h).unwrap();
        assert!(s.window_open());
        h.put_word(28, 0).put_word(32, 2);
        s.update_window(&h).unwrap();
        assert_eq!(s.max_cmd_sn, 3);
        h.put_word(28, 2);
        assert!(matches!(
            s.update_window(&h),
            Err(Violation::ExpCmdSn { .. })
        ));
    }
}
