//! `--metrics` of a running target, confined as it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lunforge_bench::initiator::Initiator;

use crate::checker::check;
use crate::common::{Export, Place, Who, command, refusal};

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

#[test]
fn an_exported_disk_tells_what_was_done_with_it() {
    let place = Place::new(Who::Ordinary);
    let export = place.start(&["disk", "--size", "1M", "--metrics", "127.0.0.1:0"]);
    let address = address(|| export.said());
    let mut initiator = export.login("a");
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    for _ in 0..3 {
        command(&mut initiator, &read, &[], 4096);
    }
    let stranger = Initiator::connect(
        export.address,
        "iqn.2026-11.org.example:none",
        &Export::options("b"),
    );
    assert_eq!(refusal(stranger), (2, 3));
    let metrics = check(&get(&address, "/metrics"));
    let value = |name: &str, wanted: &[(&str, &str)]| {
        let has = |(_, (labels, _)): &&(String, crate::checker::Sample)| {
            let of = |(name, value): &(&str, &str)| labels.get(*name).is_some_and(|v| v == value);
            wanted.iter().all(of)
        };
        metrics[name]
            .samples
            .iter()
            .find(has)
            .map(|(_, (_, value))| *value)
    };
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
