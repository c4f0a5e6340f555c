//! `lunforge top`: what devices and sessions do now.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use lunforge_daemon::control::protocol::Call;
use lunforge_daemon::control::report::{Device, Session, Status};
use lunforge_daemon::control::{Client, ClientError};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::human::{age, bytes, micros, several};
use super::table::Table;
use super::{At, in_colour, say};

mod figures;
mod screen;

use figures::{DeviceFigures, Figures, SessionFigures};
use screen::{Key, Screen};

/// Longest name that is shown whole.
const NAME: usize = 20;

/// MEAN is how long a command took, from its arrival until its answer; 99 of 100 took not longer than P99, which is a
/// power of two. Commands that end at once count as no time, unless `lunforge set "" measure_latency 1` has each of them
/// read the clock. OLDEST is the age of the oldest command that a backend has.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=3600))]
    interval: u16,

    /// Print one table, of what is done within the interval.
    #[arg(long)]
    once: bool,

    /// Print a line of JSON for each interval, with figures by second, for programs.
    #[arg(long)]
    json: bool,

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
    if args.json {
        return print_json(&mut client, before, interval, args.once);
    }
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
    let figures = Figures::new(before, now);
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
    lines.extend(devices(&figures.devices).lines(colour, width));
    let sessions = sessions(&figures.sessions);
    if !sessions.is_empty() {
        lines.push(String::new());
        lines.extend(sessions.lines(colour, width));
    }
    lines
}

/// A line for each interval, until nobody reads.
fn print_json(
    client: &mut Client,
    mut before: Look,
    interval: Duration,
    once: bool,
) -> anyhow::Result<()> {
    loop {
        std::thread::sleep(interval);
        let now = Look::take(client)?;
        let line = serde_json::to_string(&Figures::new(&before, &now))?;
        let written = writeln!(std::io::stdout(), "{line}");
        if once || written.is_err() {
            return Ok(());
        }
        before = now;
    }
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}")
}

fn throughput(rate: f64) -> String {
    format!("{:.1}", rate / 1e6)
}

fn devices(figures: &[DeviceFigures]) -> Table {
    let mut table = Table::new(&[
        "DEVICE", "IOPS>", "READ>", "R MB/s>", "W MB/s>", "MEAN>", "P99>", "OLDEST>",
    ]);
    let dash = || "-".to_owned();
    for device in figures {
        let iops = device.reads + device.writes + device.others;
        let read = match iops {
            0.0 => dash(),
            iops => format!("{:.0} %", 100.0 * device.reads / iops),
        };
        let p99 = match (device.mean_us, device.p99_us) {
            (None, _) => dash(),
            (Some(_), Some(bound)) => micros(bound as f64),
            (Some(_), None) => "long".to_owned(),
        };
        table.row(
            [
                name(&device.name),
                per_second(iops),
                read,
                throughput(device.read_bytes),
                throughput(device.write_bytes),
                device.mean_us.map_or_else(dash, micros),
                p99,
                match device.oldest_ms {
                    0 => dash(),
                    ms => micros(ms as f64 * 1e3),
                },
            ],
            device.dead,
        );
    }
    table
}

fn sessions(figures: &[SessionFigures]) -> Table {
    let mut table = Table::new(&["INITIATOR", "FROM", "IOPS>", "MB/s>", "ACTIVE>", "DATA>"]);
    for session in figures {
        table.row(
            [
                name(&session.initiator),
                name(&session.peer),
                per_second(session.commands),
                throughput(session.bytes),
                session.active_commands.to_string(),
                bytes(session.data),
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
    use lunforge_daemon::control::report::Latency;

    use super::*;

    fn look(at: Instant, reads: u64) -> Look {
        let device = Device {
            name: "a".repeat(64),
            reads,
            read_bytes: reads * 1_000_000,
            oldest_ms: 12_345,
            latency: Latency {
                commands: reads,
                sum_us: reads * 12_300,
                up_to_us: vec![(16_384, reads)],
            },
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
        assert!(text.contains("12.3 ms  16.4 ms  12.3 s"), "{text}");
        for line in &lines {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        assert_eq!(name("short"), "short");
        let shown = name(&format!("{}end", "x".repeat(100)));
        assert!(shown.starts_with('…') && shown.ends_with("end"));
        assert_eq!(shown.chars().count(), NAME);
    }
}
