//! `--metrics` of a running target, confined as it is.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lunforge_bench::initiator::Initiator;

use crate::checker::{Metric, Sample, check};
use crate::common::{Export, Place, Who, command, refusal, reserve_out};
use crate::served::Served;

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// Where a program that has said so tells its metrics.
fn address(said: impl Fn() -> String) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let said = said();
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("Metrics: http://"));
        if let Some(address) = line.and_then(|line| line.strip_suffix("/metrics")) {
            return address.to_owned();
        }
        assert!(Instant::now() < end, "{said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A sample that has these labels and perhaps more.
fn value(metrics: &BTreeMap<String, Metric>, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
    let has = |(_, (labels, _)): &&(String, Sample)| {
        let of = |(name, value): &(&str, &str)| labels.get(*name).is_some_and(|v| v == value);
        wanted.iter().all(of)
    };
    let samples = &metrics.get(name)?.samples;
    samples.iter().find(has).map(|(_, (_, value))| *value)
}

/// Seconds that all commands of a device took.
fn total_time(metrics: &BTreeMap<String, Metric>, device: &str) -> f64 {
    let wanted = [("device", device), ("stage", "total")];
    let samples = &metrics["lunforge_device_latency_seconds"].samples;
    let is_sum = |(name, (labels, _)): &&(String, Sample)| {
        name.ends_with("_sum") && wanted.iter().all(|(l, v)| labels[*l] == **v)
    };
    samples.iter().find(is_sum).unwrap().1.1
}

#[test]
fn an_exported_disk_tells_what_was_done_with_it() {
    let place = Place::new(Who::Ordinary);
    let metrics = ["--metrics", "127.0.0.1:0", "--measure-latency"];
    let export = place.start(&[&["disk", "--size", "1M"], &metrics[..]].concat());
    let address = address(|| export.said());
    let mut initiator = export.login("a");
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    for _ in 0..3 {
        command(&mut initiator, &read, &[], 4096);
    }
    assert_eq!(reserve_out(&mut initiator, 0, 0, 7, 0), 0);
    assert_eq!(reserve_out(&mut initiator, 1, 7, 0, 0), 0);
    let stranger = Initiator::connect(
        export.address,
        "iqn.2026-11.org.example:none",
        &Export::options("b"),
    );
    assert_eq!(refusal(stranger), (2, 3));
    let metrics = check(&get(&address, "/metrics"));
    let value = |name: &str, wanted: &[(&str, &str)]| value(&metrics, name, wanted);
    let reads = [
        ("device", "lun0"),
        ("command", "READ(10)"),
        ("outcome", "GOOD"),
    ];
    assert!(value("lunforge_device_commands_total", &reads) >= Some(2.0));
    assert_eq!(value("lunforge_iscsi_logins_total", &[]), Some(1.0));
    assert_eq!(value("lunforge_target_sessions", &[]), Some(1.0));
    assert_eq!(
        value("lunforge_shard_buffer_bytes", &[("shard", "0")]),
        Some(0.0)
    );
    let info = [("device", "lun0"), ("handler", "vdisk_fileio")];
    assert_eq!(value("lunforge_device_info", &info), Some(1.0));
    let refused = [("status", "0203"), ("reason", "not found")];
    assert_eq!(
        value("lunforge_iscsi_logins_refused_total", &refused),
        Some(1.0)
    );
    let lun = [("device", "lun0")];
    let size = f64::from(1 << 20);
    assert_eq!(value("lunforge_device_size_bytes", &lun), Some(size));
    assert_eq!(value("lunforge_device_registrants", &lun), Some(1.0));
    assert_eq!(value("lunforge_device_reservation_holder", &lun), Some(1.0));
    assert!(total_time(&metrics, "lun0") > 0.0);
    assert_eq!(get(&address, "/healthz"), "ok\n");
}

#[test]
fn a_port_in_use_is_said_before_anything_is_there() {
    let place = Place::new(Who::Us);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.refused(&["disk", "--size", "1M", "--metrics", &address], &address);
    assert!(!std::path::Path::new(&place.path("disk")).exists());
}

const NAME: &str = "iqn.2026-11.org.example:a";

/// A disk of 1 MiB for everybody, as confined as it can be.
fn served() -> Served {
    let config = format!(
        "measure_latency 1\n\
         HANDLER vdisk_nullio {{\n\tDEVICE d {{\n\t\tsize_mb 1\n\t}}\n}}\n\
         TARGET_DRIVER iscsi {{\n\tenabled 1\n\tTARGET {NAME} {{\n\t\tenabled 1\n\t\tLUN 0 d\n\t}}\n}}\n"
    );
    let more = ["--portal", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    Served::start(Place::new(Who::Ordinary), &config, &more)
}

fn login(served: &Served) -> Initiator {
    let status: serde_json::Value =
        serde_json::from_str(&served.told(&["status", "--json"])).unwrap();
    let portal = status["portals"][0].as_str().unwrap();
    Initiator::connect(portal, NAME, &Export::options("host")).unwrap()
}

#[test]
fn a_served_disk_tells_outcomes_of_vaai_reservations_and_times() {
    let served = served();
    let address = address(|| served.said());
    let mut host = login(&served);
    // A disk of zeros is compared with ones: another host was first.
    let compare_and_write = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let reply = command(&mut host, &compare_and_write, &[1; 1024], 0);
    assert_eq!(reply.sense_key(), Some(0xE));
    assert_eq!(reserve_out(&mut host, 0, 0, 7, 0), 0);
    assert_eq!(reserve_out(&mut host, 1, 7, 0, 0), 0);
    let metrics = check(&get(&address, "/metrics"));
    let value = |name: &str, wanted: &[(&str, &str)]| value(&metrics, name, wanted);
    let miscompares = [
        ("device", "d"),
        ("command", "COMPARE AND WRITE"),
        ("outcome", "CHECK CONDITION"),
    ];
    assert!(value("lunforge_device_commands_total", &miscompares) >= Some(1.0));
    let sense = [("device", "d"), ("key", "e"), ("asc", "1d"), ("ascq", "00")];
    assert_eq!(value("lunforge_device_sense_total", &sense), Some(1.0));
    assert_eq!(
        value("lunforge_device_reservation_generation", &[("device", "d")]),
        Some(1.0)
    );
    assert_eq!(
        value("lunforge_device_registrants", &[("device", "d")]),
        Some(1.0)
    );
    let holder = metrics["lunforge_device_reservation_holder"].samples[0]
        .1
        .0
        .clone();
    assert!(
        holder["holder"].contains("iqn.2026-11.org.example:host"),
        "{holder:?}"
    );
    assert!(total_time(&metrics, "d") > 0.0);
    served.stop();
}

#[test]
fn a_client_that_says_nothing_does_not_hold_the_end_up() {
    let served = served();
    let address = address(|| served.said());
    let _silent = TcpStream::connect(&address).unwrap();
    assert_eq!(get(&address, "/healthz"), "ok\n");
    let begun = Instant::now();
    served.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
