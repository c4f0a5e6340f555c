//! What was done between two looks.

use std::collections::HashMap;

use lunforge_daemon::control::report::{Device, Latency, Session};
use serde::Serialize;

use super::Look;

/// What was done, by second.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Between the looks.
    pub(super) seconds: f64,
    pub(super) devices: Vec<DeviceFigures>,
    pub(super) sessions: Vec<SessionFigures>,
}

/// What a device did, by second.
#[derive(Debug, Serialize)]
pub(super) struct DeviceFigures {
    pub(super) name: String,
    pub(super) reads: f64,
    pub(super) writes: f64,
    pub(super) others: f64,
    pub(super) read_bytes: f64,
    pub(super) write_bytes: f64,
    /// How long a command took; `None` if none ended.
    pub(super) mean_us: Option<f64>,
    /// What 99 of 100 commands did not exceed; `None` if none ended, or if it is more than there is a bound for.
    pub(super) p99_us: Option<u64>,
    pub(super) oldest_ms: u64,
    pub(super) dead: bool,
}

/// What a session did, by second.
#[derive(Debug, Serialize)]
pub(super) struct SessionFigures {
    pub(super) id: u64,
    pub(super) initiator: String,
    pub(super) peer: String,
    pub(super) commands: f64,
    pub(super) bytes: f64,
    pub(super) active_commands: u64,
    /// Bytes since its login.
    pub(super) data: u64,
}

impl Figures {
    pub(super) fn new(before: &Look, now: &Look) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        let (no_device, no_session) = (Device::default(), Session::default());
        let devices: HashMap<_, _> = before.devices.iter().map(|old| (&old.name, old)).collect();
        let sessions: HashMap<_, _> = before.sessions.iter().map(|old| (old.id, old)).collect();
        Self {
            seconds,
            devices: now
                .devices
                .iter()
                .map(|now| device(devices.get(&now.name).unwrap_or(&&no_device), now, seconds))
                .collect(),
            sessions: now
                .sessions
                .iter()
                .map(|now| session(sessions.get(&now.id).unwrap_or(&&no_session), now, seconds))
                .collect(),
        }
    }
}

fn device(old: &Device, now: &Device, seconds: f64) -> DeviceFigures {
    let rate = |counter: fn(&Device) -> u64| rate(counter(old), counter(now), seconds);
    let took = between(&old.latency, &now.latency);
    DeviceFigures {
        name: now.name.clone(),
        reads: rate(|d| d.reads),
        writes: rate(|d| d.writes),
        others: rate(|d| d.others),
        read_bytes: rate(|d| d.read_bytes),
        write_bytes: rate(|d| d.write_bytes),
        mean_us: (took.commands > 0).then(|| took.sum_us as f64 / took.commands as f64),
        p99_us: quantile(&took, 0.99),
        oldest_ms: now.oldest_ms,
        dead: now.dead,
    }
}

fn session(old: &Session, now: &Session, seconds: f64) -> SessionFigures {
    let data = |session: &Session| session.read_bytes.saturating_add(session.write_bytes);
    SessionFigures {
        id: now.id,
        initiator: now.initiator.clone(),
        peer: now.peer.clone(),
        commands: rate(old.commands, now.commands, seconds),
        bytes: rate(data(old), data(now), seconds),
        active_commands: now.active_commands,
        data: data(now),
    }
}

/// How much more a counter says now, in a second. One that began anew says all of it.
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    now.checked_sub(before).unwrap_or(now) as f64 / seconds
}

/// The commands that ended between two looks. If the counters began anew, all.
fn between(before: &Latency, now: &Latency) -> Latency {
    if now.commands < before.commands {
        return now.clone();
    }
    let old: HashMap<_, _> = before.up_to_us.iter().copied().collect();
    let buckets = now.up_to_us.iter().map(|(bound, count)| {
        let old = old.get(bound).copied().unwrap_or(0);
        (*bound, count.saturating_sub(old))
    });
    Latency {
        commands: now.commands - before.commands,
        sum_us: now.sum_us.saturating_sub(before.sum_us),
        up_to_us: buckets.collect(),
    }
}

/// The least bound that this part of the commands did not exceed.
fn quantile(took: &Latency, part: f64) -> Option<u64> {
    let wanted = (took.commands as f64 * part).ceil();
    let mut sum = 0;
    let reached = took.up_to_us.iter().find(|(_, count)| {
        sum += count;
        took.commands > 0 && sum as f64 >= wanted
    });
    reached.map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(buckets: &[(u64, u64)], beyond: u64, sum_us: u64) -> Latency {
        Latency {
            commands: buckets.iter().map(|(_, count)| count).sum::<u64>() + beyond,
            sum_us,
            up_to_us: buckets.to_vec(),
        }
    }

    #[test]
    fn a_counter_that_began_anew_does_no_harm() {
        assert_eq!(rate(100, 10, 2.0), 5.0);
        let (before, now) = (latency(&[(8, 100)], 0, 700), latency(&[(4, 1)], 0, 3));
        assert_eq!(between(&before, &now), now);
    }

    #[test]
    fn the_latency_is_that_of_the_commands_between_the_looks() {
        let before = latency(&[(1, 1000), (64, 10)], 0, 500);
        let now = latency(&[(1, 1000), (64, 108), (4096, 2)], 0, 12_500);
        let took = between(&before, &now);
        assert_eq!((took.commands, took.sum_us), (100, 12_000));
        assert_eq!(quantile(&took, 0.98), Some(64));
        assert_eq!(quantile(&took, 0.99), Some(4096));
    }

    #[test]
    fn where_nothing_ended_or_no_bound_is_met_there_is_no_quantile() {
        let idle = latency(&[(64, 10)], 0, 500);
        let took = between(&idle, &idle);
        assert_eq!((took.commands, quantile(&took, 0.99)), (0, None));
        assert_eq!(quantile(&latency(&[(64, 90)], 10, 0), 0.99), None);
    }
}
