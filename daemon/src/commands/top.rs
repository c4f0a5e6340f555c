//! `lunforge top`: what devices and sessions do now.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use lunforge_daemon::control::protocol::Call;
use lunforge_daemon::control::report::{Device, Session, Status};
use lunforge_daemon::control::{Client, ClientError};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::human::{age, bytes, several};
use super::table::Table;
use super::{At, in_colour, say};

mod screen;

use screen::{Key, Screen};

/// Longest name that is shown whole.
const NAME: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=3600))]
    interval: u16,

    /// Print one table, of what is done within the interval.
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    at: At,
}

/// What there was at a time.
struct Look {
    at: Instant,
    status: Status,
    devices: Vec<Device>,
    sessions: Vec<Session>,
}

impl Look {
    fn take(client: &mut Client) -> Result<Self, ClientError> {
        Ok(Self {
            status: client.call(Call::Status)?,
            devices: client.call(Call::Devices)?,
            sessions: client.call(Call::Sessions)?,
            at: Instant::now(),
        })
    }
}

pub(super) fn run(args: &Top) -> anyhow::Result<()> {
    let mut client = args.at.client()?;
    let interval = Duration::from_secs(args.interval.into());
    let mut before = Look::take(&mut client)?;
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if args.once || !terminal {
        std::thread::sleep(interval);
        let now = Look::take(&mut client)?;
        say(&(lines(&before, &now, in_colour(), usize::MAX).join("\n") + "\n"));
        return Ok(());
    }
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let screen = Screen::take()?;
    // The first figures come soon.
    let mut next = Instant::now() + interval.min(Duration::from_millis(300));
    while !ended.load(Ordering::Relaxed) {
        match screen.key(next.saturating_duration_since(Instant::now()))? {
            Key::Quit => break,
            Key::Other => continue,
            Key::None => {}
        }
        if Instant::now() < next {
            continue;
        }
        let now = Look::take(&mut client)?;
        let (width, height) = screen.size();
        let mut lines = lines(&before, &now, in_colour(), width);
        lines.truncate(height);
        screen.show(&lines);
        before = now;
        next = Instant::now() + interval;
    }
    Ok(())
}

fn lines(before: &Look, now: &Look, colour: bool, width: usize) -> Vec<String> {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let status = &now.status;
    let mut lines = vec![format!(
        "lunforge {}, up {}: {} of {} enabled, {}",
        status.version,
        age(status.uptime),
        status.enabled_targets,
        several(status.targets, "target"),
        several(status.sessions, "session"),
    )];
    lines.extend(status.troubles.iter().map(|t| format!("Look at {t}")));
    for line in &mut lines {
        *line = line.chars().take(width).collect();
    }
    lines.push(String::new());
    lines.extend(devices(before, now, seconds).lines(colour, width));
    let sessions = sessions(before, now, seconds);
    if !sessions.is_empty() {
        lines.push(String::new());
        lines.extend(sessions.lines(colour, width));
    }
    lines
}

/// How much more a counter says now, in a second. One that began anew says all of it.
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    now.checked_sub(before).unwrap_or(now) as f64 / seconds
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}")
}

fn throughput(rate: f64) -> String {
    format!("{:.1}", rate / 1e6)
}

fn devices(before: &Look, now: &Look, seconds: f64) -> Table {
    let mut table = Table::new(&[
        "DEVICE", "IOPS>", "READ/s>", "WRITE/s>", "R MB/s>", "W MB/s>", "OLDEST>",
    ]);
    for device in &now.devices {
        let new = Device::default();
        let old = before.devices.iter().find(|old| old.name == device.name);
        let old = old.unwrap_or(&new);
        let rate = |counter: fn(&Device) -> u64| rate(counter(old), counter(device), seconds);
        let (reads, writes) = (rate(|d| d.reads), rate(|d| d.writes));
        let oldest = match device.oldest_ms {
            0 => "-".to_owned(),
            ms => format!("{ms} ms"),
        };
        table.row(
            [
                name(&device.name),
                per_second(reads + writes + rate(|d| d.others)),
                per_second(reads),
                per_second(writes),
                throughput(rate(|d| d.read_bytes)),
                throughput(rate(|d| d.write_bytes)),
                oldest,
            ],
            device.dead,
        );
    }
    table
}

fn sessions(before: &Look, now: &Look, seconds: f64) -> Table {
    let mut table = Table::new(&["INITIATOR", "FROM", "IOPS>", "MB/s>", "ACTIVE>", "DATA>"]);
    for session in &now.sessions {
        let new = Session::default();
        let old = before.sessions.iter().find(|old| old.id == session.id);
        let old = old.unwrap_or(&new);
        let data = |session: &Session| session.read_bytes.saturating_add(session.write_bytes);
        table.row(
            [
                name(&session.initiator),
                name(&session.peer),
                per_second(rate(old.commands, session.commands, seconds)),
                throughput(rate(data(old), data(session), seconds)),
                session.active_commands.to_string(),
                bytes(data(session)),
            ],
            false,
        );
    }
    table
}

/// The end of a name that is long: iSCSI names differ there.
fn name(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - (NAME - 1)).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, reads: u64) -> Look {
        let device = Device {
            name: "a".repeat(64),
            reads,
            read_bytes: reads * 1_000_000,
            oldest_ms: 12_345,
            ..Device::default()
        };
        let session = Session {
            initiator: format!("iqn.1994-05.com.redhat:{}", "b".repeat(64)),
            peer: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".to_owned(),
            commands: reads,
            ..Session::default()
        };
        Look {
            at,
            status: Status::default(),
            devices: vec![device],
            sessions: vec![session],
        }
    }

    #[test]
    fn rates_are_differences_by_time_and_fit_into_80_columns() {
        let begin = Instant::now();
        let (before, now) = (
            look(begin, 1000),
            look(begin + Duration::from_secs(2), 200_000),
        );
        let lines = lines(&before, &now, false, usize::MAX);
        let text = lines.join("\n");
        assert!(
            text.contains(" 99500 ") && text.contains(" 99500.0 "),
            "{text}"
        );
        for line in &lines {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_counter_that_began_anew_does_no_harm() {
        assert_eq!(rate(100, 10, 2.0), 5.0);
    }

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        assert_eq!(name("short"), "short");
        let shown = name(&format!("{}end", "x".repeat(100)));
        assert!(shown.starts_with('…') && shown.ends_with("end"));
        assert_eq!(shown.chars().count(), NAME);
    }
}
