//! Lists of what the running target tells of itself.

use clap::Args;
use lunforge_daemon::control::protocol::Call;
use lunforge_daemon::control::report::{Device, Reservation, Session, Status, Target};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::human::{age, bytes, count, several};
use super::table::Table;
use super::{At, in_colour, say, width};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print the answer as it comes, for programs.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: At,
}

impl List {
    /// Asks, and prints the answer by `show` or as JSON.
    fn print<T: DeserializeOwned>(
        &self,
        call: Call,
        show: impl Fn(T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            let answer: Value = self.at.ask(call)?;
            say(&json(&answer));
        } else {
            say(&show(self.at.ask(call)?));
        }
        Ok(())
    }
}

/// As JSON for programs and people.
pub(super) fn json(answer: &Value) -> String {
    format!("{answer:#}\n")
}

/// A table, or a sentence where there is nothing in it.
fn table_or(table: &Table, nothing: &str) -> String {
    if table.is_empty() {
        format!("{nothing}\n")
    } else {
        table.text(in_colour(), width())
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

pub(super) fn status(args: &List) -> anyhow::Result<()> {
    args.print(Call::Status, show_status)
}

fn show_status(status: Status) -> String {
    let mut lines = vec![format!(
        "lunforge {}, up {}",
        status.version,
        age(status.uptime)
    )];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<14} {value}"));
    if let Some(config) = status.config {
        let unsaved = if status.unsaved {
            " (changed since: `lunforge save` keeps that)"
        } else {
            ""
        };
        line("configuration", format!("{config}{unsaved}"));
    }
    if !status.portals.is_empty() {
        line("portals", status.portals.join(" "));
    }
    if !status.srp_portals.is_empty() {
        line("SRP", status.srp_portals.join(" "));
    }
    line(
        "targets",
        format!("{}, {} enabled", status.targets, status.enabled_targets),
    );
    line(
        "devices",
        format!("{} as {}", status.devices, several(status.luns, "LUN")),
    );
    line("sessions", status.sessions.to_string());
    line("commands", count(status.commands));
    line(
        "data",
        format!(
            "{} read, {} written",
            bytes(status.read_bytes),
            bytes(status.write_bytes)
        ),
    );
    line("buffers", bytes(status.buffers));
    for trouble in &status.troubles {
        lines.push(if in_colour() {
            format!("\x1b[31mLook at {trouble}\x1b[0m")
        } else {
            format!("Look at {trouble}")
        });
    }
    lines.join("\n") + "\n"
}

pub(super) fn targets(args: &List) -> anyhow::Result<()> {
    args.print(Call::Targets, |targets: Vec<Target>| {
        let mut table = Table::new(&[
            "TARGET",
            "DRIVER",
            "ENABLED",
            "ID>",
            "LUNS>",
            "SESSIONS>",
            "GROUPS",
            "PORTALS",
        ]);
        for target in targets {
            table.row(
                [
                    target.name,
                    target.driver,
                    if target.enabled { "yes" } else { "no" }.to_owned(),
                    target.rel_tgt_id.to_string(),
                    target.luns.to_string(),
                    target.sessions.to_string(),
                    dash(&target.groups.join(" ")),
                    dash(&target.portals.join(" ")),
                ],
                false,
            );
        }
        table_or(
            &table,
            "There are no targets. `lunforge add --help` shows how to make one.",
        )
    })
}

pub(super) fn sessions(args: &List) -> anyhow::Result<()> {
    args.print(Call::Sessions, |sessions: Vec<Session>| {
        let mut table = Table::new(&[
            "SESSION>",
            "INITIATOR",
            "FROM",
            "TARGET",
            "GROUP",
            "AGE>",
            "ACTIVE>",
            "COMMANDS>",
            "READ>",
            "WRITTEN>",
        ]);
        for session in sessions {
            table.row(
                [
                    session.id.to_string(),
                    session.initiator,
                    session.peer,
                    session.target,
                    session.group.unwrap_or_else(|| "-".to_owned()),
                    age(session.age),
                    session.active_commands.to_string(),
                    count(session.commands),
                    bytes(session.read_bytes),
                    bytes(session.write_bytes),
                ],
                false,
            );
        }
        table_or(&table, "There are no sessions.")
    })
}

pub(super) fn devices(args: &List) -> anyhow::Result<()> {
    args.print(Call::Devices, |devices: Vec<Device>| {
        let mut table = Table::new(&[
            "DEVICE", "HANDLER", "SIZE>", "BLOCK>", "STATE", "LUNS>", "READ>", "WRITTEN>", "FILE",
        ]);
        for device in devices {
            let state = state(&device);
            table.row(
                [
                    device.name,
                    device.handler,
                    device.size.map_or_else(|| "-".to_owned(), bytes),
                    device.block_size.to_string(),
                    state,
                    device.luns.len().to_string(),
                    bytes(device.read_bytes),
                    bytes(device.write_bytes),
                    device.filename.unwrap_or_else(|| "-".to_owned()),
                ],
                device.dead,
            );
        }
        table_or(
            &table,
            "There are no devices. `lunforge add --help` shows how to make one.",
        )
    })
}

/// What to know of a device in a few words.
fn state(device: &Device) -> String {
    let state = match &device.access_state {
        _ if device.dead => "does not answer".to_owned(),
        _ if !device.active => "closed".to_owned(),
        Some(state) => state.clone(),
        None => "open".to_owned(),
    };
    if device.dead && device.oldest_ms > 0 {
        format!("{state} for {}", age(device.oldest_ms / 1000))
    } else {
        state
    }
}

pub(super) fn reservations(args: &List) -> anyhow::Result<()> {
    args.print(Call::Reservations, |reservations: Vec<Reservation>| {
        let mut table = Table::new(&[
            "DEVICE",
            "RESERVATION",
            "HOLDERS",
            "REGISTERED",
            "KEY",
            "GENERATION>",
            "APTPL",
        ]);
        for reservation in reservations {
            let mut first = [
                reservation.device,
                reservation.kind.unwrap_or_else(|| "none".to_owned()),
                dash(&reservation.holders.join(" ")),
            ];
            let mut last = [
                reservation.generation.to_string(),
                if reservation.aptpl { "yes" } else { "no" }.to_owned(),
            ];
            let mut registrants: Vec<_> = reservation
                .registrants
                .into_iter()
                .map(|(initiator, port, key)| [format!("{initiator} at port {port}"), key])
                .collect();
            if registrants.is_empty() {
                registrants.push(["-", "-"].map(str::to_owned));
            }
            for registrant in registrants {
                // The device is told once.
                let (before, after) = (std::mem::take(&mut first), std::mem::take(&mut last));
                table.row(before.into_iter().chain(registrant).chain(after), false);
            }
        }
        table_or(&table, "No device is reserved, and nobody is registered.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_does_not_answer_says_for_how_long() {
        let mut device = Device {
            active: true,
            access_state: Some("active".to_owned()),
            ..Device::default()
        };
        assert_eq!(state(&device), "active");
        device.dead = true;
        device.oldest_ms = 61_000;
        assert_eq!(state(&device), "does not answer for 1 min 1 s");
        assert_eq!(state(&Device::default()), "closed");
    }

    #[test]
    fn what_is_not_saved_and_what_is_wrong_is_said() {
        let text = show_status(Status {
            config: Some("/etc/scst.conf".to_owned()),
            unsaved: true,
            luns: 1,
            troubles: vec!["disk1: it does not answer".to_owned()],
            ..Status::default()
        });
        assert!(text.contains("lunforge save"), "{text}");
        assert!(text.contains("Look at disk1"), "{text}");
        assert!(text.contains("0 as 1 LUN\n"), "{text}");
    }
}
