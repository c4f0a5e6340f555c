//! What the login agreed on, as the protocol engine takes it.

use std::time::Duration;

use lunforge_core::shard::{NexusKey, ShardCx};

use crate::io::Limits;
use crate::io::login::Finish;
use crate::proto::connection::{ConnectionLimits, ConnectionParams};
use crate::proto::keys::Digest;
use crate::proto::session::{MAX_QUEUED_COMMANDS, SessionParams};

pub(super) fn connection_params(finish: &Finish, limits: &Limits) -> ConnectionParams {
    let (agreed, ours) = (&finish.login.params, &finish.login.target_params);
    let seconds = |s: u32| Duration::from_secs(s.into());
    ConnectionParams {
        header_digest: agreed.header_digest == Digest::Crc32c,
        data_digest: agreed.data_digest == Digest::Crc32c,
        max_recv_data_segment_length: agreed.max_recv_data_segment_length,
        max_xmit_data_segment_length: agreed.max_xmit,
        cid: finish.login.cid,
        nop_in_interval: seconds(ours.nop_in_interval),
        nop_in_timeout: seconds(ours.nop_in_timeout),
        response_timeout: seconds(ours.rsp_timeout),
        send_timeout: limits.progress_time,
        limits: ConnectionLimits {
            text_bytes: limits.text_bytes,
            text_parts: limits.text_parts,
            text_time: limits.text_time,
            pings: limits.pings,
            output_bytes: limits.output_bytes,
            output_pdus: limits.output_pdus,
        },
    }
}

/// Depth of the CmdSN window. All LUNs of a session share it; so that a unit that does not answer does not close it for the
/// others, it is wider than QueuedCommands by as much as one unit may hold.
pub(super) fn window(cx: &ShardCx<'_>, finish: &Finish, nexus: Option<NexusKey>) -> u32 {
    let queued = finish.login.target_params.queued_commands;
    let nexus = nexus.and_then(|nexus| cx.nexus(nexus));
    let several = nexus.is_some_and(|nexus| nexus.luns().len() > 1);
    let of_one = u32::try_from(cx.limits().commands_per_itl).unwrap_or(u32::MAX);
    queued
        .saturating_add(if several { of_one } else { 0 })
        .min(MAX_QUEUED_COMMANDS)
}

pub(super) fn session_params(
    finish: &Finish,
    limits: &Limits,
    discovery: bool,
    window: u32,
) -> SessionParams {
    let agreed = &finish.login.params;
    let short = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    SessionParams {
        discovery,
        initial_r2t: agreed.initial_r2t,
        immediate_data: agreed.immediate_data,
        max_burst_length: agreed.max_burst_length,
        first_burst_length: agreed.first_burst_length,
        max_outstanding_r2t: short(agreed.max_outstanding_r2t.into()),
        default_time2wait: short(agreed.default_time2wait.as_secs()),
        default_time2retain: short(agreed.default_time2retain.as_secs()),
        queued_commands: window,
        immediate_commands: limits.immediate_commands,
    }
}
