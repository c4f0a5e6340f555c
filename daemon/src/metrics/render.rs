//! From a snapshot to text.

use lunforge::core::measure::End;
use lunforge::core::tmf::Response;

use super::exposition::{Text, Type, seconds};
use super::iscsi;
use super::snapshot::{Device, Snapshot};
use super::srp;
use crate::control::report;

use Type::{Counter, Gauge, Histogram};

/// The metrics of a snapshot as Prometheus' text format has them.
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    process(&mut text, snapshot);
    let devices = &snapshot.devices;
    devices_are(&mut text, devices);
    devices_did(&mut text, devices);
    devices_answered(&mut text, devices);
    backends(&mut text, devices);
    access_states(&mut text, devices);
    reservations(&mut text, &snapshot.reservations);
    targets(&mut text, &snapshot.targets);
    if let Some(transport) = &snapshot.transport {
        iscsi::transport(&mut text, transport);
    }
    if let Some(transport) = &snapshot.srp {
        srp::transport(&mut text, transport);
    }
    shards(&mut text, snapshot);
    text.into_string()
}

fn process(text: &mut Text, snapshot: &Snapshot) {
    text.metric("lunforge_build_info", Gauge, "The program; always 1.")
        .add(&[("version", &snapshot.version)], 1);
    text.metric("lunforge_uptime_seconds", Gauge, "Time since its start.")
        .add(&[], seconds(snapshot.uptime));
}

fn devices_are(text: &mut Text, devices: &[Device]) {
    let mut info = text.metric("lunforge_device_info", Gauge, "What a device is; always 1.");
    for Device { told, .. } in devices {
        let filename = told.filename.as_deref().unwrap_or_default();
        let labels = [
            ("device", told.name.as_str()),
            ("handler", &told.handler),
            ("filename", filename),
        ];
        info.add(&labels, 1);
    }
    let mut active = text.metric(
        "lunforge_device_active",
        Gauge,
        "Whether what is behind a device is open.",
    );
    for Device { told, .. } in devices {
        active.add(&[("device", &told.name)], u8::from(told.active));
    }
    let mut size = text.metric(
        "lunforge_device_size_bytes",
        Gauge,
        "Size of a device that is open.",
    );
    for Device { told, .. } in devices {
        if let Some(bytes) = told.size {
            size.add(&[("device", &told.name)], bytes);
        }
    }
    let mut luns = text.metric("lunforge_device_luns", Gauge, "LUNs that a device is.");
    for Device { told, .. } in devices {
        luns.add(&[("device", &told.name)], told.luns.len());
    }
}

fn devices_did(text: &mut Text, devices: &[Device]) {
    let mut moved = text.metric(
        "lunforge_device_io_total",
        Counter,
        "Commands that ended, by the direction of their data.",
    );
    for Device { told, .. } in devices {
        let counts = [
            ("read", told.reads),
            ("write", told.writes),
            ("none", told.others),
        ];
        for (direction, count) in counts {
            moved.add(&[("device", &told.name), ("direction", direction)], count);
        }
    }
    let mut bytes = text.metric(
        "lunforge_device_bytes_total",
        Counter,
        "Bytes that commands moved.",
    );
    for Device { told, .. } in devices {
        for (direction, count) in [("read", told.read_bytes), ("write", told.write_bytes)] {
            bytes.add(&[("device", &told.name), ("direction", direction)], count);
        }
    }
    let mut latency = text.metric(
        "lunforge_device_latency_seconds",
        Histogram,
        "How long commands took: wait, until the backend has them; backend, until it is through; total.",
    );
    // A device that nobody uses has none: each is 84 lines.
    for device in devices.iter().filter(|d| d.latency.total.count() > 0) {
        let times = &device.latency;
        let stages = [
            ("wait", &times.wait),
            ("backend", &times.backend),
            ("total", &times.total),
        ];
        for (stage, times) in stages {
            latency.times(&[("device", &device.told.name), ("stage", stage)], times);
        }
    }
}

fn devices_answered(text: &mut Text, devices: &[Device]) {
    let mut commands = text.metric(
        "lunforge_device_commands_total",
        Counter,
        "Commands that ended, by their name and how.",
    );
    for device in devices {
        for count in &device.commands {
            let end = match count.end {
                End::Status(status) => status.to_string(),
                End::Aborted => "aborted".to_owned(),
            };
            let labels = [
                ("device", device.told.name.as_str()),
                ("command", count.command),
                ("outcome", &end),
            ];
            commands.add(&labels, count.count);
        }
    }
    let mut sense = text.metric(
        "lunforge_device_sense_total",
        Counter,
        "Sense codes that were answered, in hexadecimal; other: those that are not told apart.",
    );
    for device in devices {
        for count in &device.sense {
            let hex = |byte: u8| format!("{byte:02x}");
            let (key, asc, ascq) = (format!("{:x}", count.key), hex(count.asc), hex(count.ascq));
            let labels = [
                ("device", device.told.name.as_str()),
                ("key", &key),
                ("asc", &asc),
                ("ascq", &ascq),
            ];
            sense.add(&labels, count.count);
        }
        if device.other_sense > 0 {
            let labels = [
                ("device", device.told.name.as_str()),
                ("key", "other"),
                ("asc", ""),
                ("ascq", ""),
            ];
            sense.add(&labels, device.other_sense);
        }
    }
    let mut functions = text.metric(
        "lunforge_device_task_management_total",
        Counter,
        "Task management functions, by their name and response.",
    );
    for device in devices {
        for count in &device.functions {
            let labels = [
                ("device", device.told.name.as_str()),
                ("function", count.function),
                ("response", response(count.response)),
            ];
            functions.add(&labels, count.count);
        }
    }
}

fn response(response: Response) -> &'static str {
    match response {
        Response::Complete => "FUNCTION COMPLETE",
        Response::Succeeded => "FUNCTION SUCCEEDED",
        Response::NoSuchTask => "no such task",
        Response::IncorrectLun => "INCORRECT LOGICAL UNIT NUMBER",
        Response::Rejected => "FUNCTION REJECTED",
    }
}

fn backends(text: &mut Text, devices: &[Device]) {
    let mut oldest = text.metric(
        "lunforge_device_oldest_command_seconds",
        Gauge,
        "Age of the oldest command that the backend has; 0: none is older than a second.",
    );
    for Device { told, .. } in devices {
        let age = seconds(std::time::Duration::from_millis(told.oldest_ms));
        oldest.add(&[("device", &told.name)], age);
    }
    let mut dead = text.metric(
        "lunforge_device_backend_dead",
        Gauge,
        "Whether the backend does not answer.",
    );
    for Device { told, .. } in devices {
        dead.add(&[("device", &told.name)], u8::from(told.dead));
    }
    let mut timeouts = text.metric(
        "lunforge_device_backend_timeouts_total",
        Counter,
        "Commands that were given up because the backend did not answer.",
    );
    for device in devices {
        timeouts.add(&[("device", &device.told.name)], device.timed_out);
    }
    let mut detached = text.metric(
        "lunforge_device_backend_detached",
        Gauge,
        "Operations that the backend still has although their commands were given up.",
    );
    for device in devices {
        detached.add(&[("device", &device.told.name)], device.detached);
    }
}

fn access_states(text: &mut Text, devices: &[Device]) {
    let mut states = text.metric(
        "lunforge_device_access_state",
        Gauge,
        "The access state (ALUA) of a device in a device group; always 1.",
    );
    for Device { told, .. } in devices {
        if let Some(state) = &told.access_state {
            states.add(&[("device", &told.name), ("state", state)], 1);
        }
    }
}

fn reservations(text: &mut Text, reservations: &[report::Reservation]) {
    let mut generation = text.metric(
        "lunforge_device_reservation_generation",
        Gauge,
        "PRGENERATION of a device with registrants or a reservation.",
    );
    for told in reservations {
        generation.add(&[("device", &told.device)], told.generation);
    }
    let mut registrants = text.metric(
        "lunforge_device_registrants",
        Gauge,
        "I_T nexuses that have registered a reservation key.",
    );
    for told in reservations {
        registrants.add(&[("device", &told.device)], told.registrants.len());
    }
    let mut holders = text.metric(
        "lunforge_device_reservation_holder",
        Gauge,
        "Who holds the reservation of a device; always 1.",
    );
    for told in reservations {
        let kind = told.kind.as_deref().unwrap_or_default();
        for holder in &told.holders {
            let labels = [
                ("device", told.device.as_str()),
                ("type", kind),
                ("holder", holder),
            ];
            holders.add(&labels, 1);
        }
    }
}

fn targets(text: &mut Text, targets: &[report::Target]) {
    type Of = fn(&report::Target) -> u64;
    let metrics: [(&str, &str, Of); 3] = [
        (
            "lunforge_target_enabled",
            "Whether initiators may log in.",
            |target| u64::from(target.enabled),
        ),
        ("lunforge_target_sessions", "Sessions.", |target| {
            target.sessions
        }),
        (
            "lunforge_target_luns",
            "LUNs, those of initiator groups included.",
            |target| target.luns,
        ),
    ];
    for (name, help, of) in metrics {
        let mut metric = text.metric(name, Gauge, help);
        for target in targets {
            let labels = [("driver", target.driver.as_str()), ("target", &target.name)];
            metric.add(&labels, of(target));
        }
    }
}

fn shards(text: &mut Text, snapshot: &Snapshot) {
    type Of = fn(&lunforge::core::shard::Census) -> usize;
    let metrics: [(&str, &str, Of); 3] = [
        (
            "lunforge_shard_buffer_bytes",
            "Bytes of I/O buffers in use.",
            |census| census.buffer_bytes,
        ),
        ("lunforge_shard_commands", "Commands under way.", |census| {
            census.commands
        }),
        ("lunforge_shard_sessions", "Sessions.", |census| {
            census.nexuses
        }),
    ];
    for (name, help, of) in metrics {
        let mut metric = text.metric(name, Gauge, help);
        for (number, shard) in snapshot.shards.iter().enumerate() {
            if let Some(census) = &shard.census {
                metric.add(&[("shard", &number.to_string())], of(census));
            }
        }
    }
    let mut limits = text.metric(
        "lunforge_shard_limit_total",
        Counter,
        "What the limits of a shard did: TASK SET FULL for commands, session-bytes or shard-bytes; sessions closed (stall-time).",
    );
    for (number, shard) in snapshot.shards.iter().enumerate() {
        let counts = [
            ("commands", shard.full_commands),
            ("session-bytes", shard.full_session),
            ("shard-bytes", shard.full_shard),
            ("stall-time", shard.shed),
        ];
        for (limit, count) in counts {
            limits.add(&[("shard", &number.to_string()), ("limit", limit)], count);
        }
    }
    let mut dropped = text.metric(
        "lunforge_shard_dropped_completions_total",
        Counter,
        "Commands whose handler did not answer, which is a fault of it.",
    );
    for (number, shard) in snapshot.shards.iter().enumerate() {
        dropped.add(&[("shard", &number.to_string())], shard.dropped);
    }
}
