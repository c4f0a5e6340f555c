//! docs/control.md is true: its conversation is held with a machine on paper, whose sessions and figures stand here.
//! `UPDATE_DOCS=1` writes the answers into it.

use std::path::PathBuf;
use std::sync::Arc;

use lunforge_daemon::control::paper::Paper;
use lunforge_daemon::control::protocol::{Answer, Request};
use lunforge_daemon::control::report::{Device, Latency, Reservation, Session, Status, Target};
use lunforge_daemon::control::{Answers, ConfigFile, Managed, Observe, ScstConf};
use lunforge_daemon::manage::{Failure, Manager, Model};
use lunforge_daemon::tree::Path;
use serde_json::{Value, json};

const INITIATOR: &str = "iqn.1993-08.org.debian:01:host";
const TARGET: &str = "iqn.2026-11.org.example:a";

/// As on paper, with somebody at work.
struct Busy(Paper);

impl Observe for Busy {
    fn read(&self, path: &Path, attribute: &str) -> Option<String> {
        Observe::read(&self.0, path, attribute)
    }

    fn sessions(&self, _: &Model) -> Vec<Session> {
        vec![Session {
            id: 3,
            driver: "iscsi".to_owned(),
            target: TARGET.to_owned(),
            initiator: INITIATOR.to_owned(),
            name: INITIATOR.to_owned(),
            group: None,
            peer: "192.0.2.7:40312".to_owned(),
            portal: "192.0.2.1:3260".to_owned(),
            age: 86,
            active_commands: 2,
            commands: 1204,
            read_bytes: 4_931_584,
            write_bytes: 65_536,
            parameters: vec![("ImmediateData".to_owned(), "Yes".to_owned())],
        }]
    }

    fn devices(&self, model: &Model) -> Vec<Device> {
        let mut devices = self.0.devices(model);
        for device in &mut devices {
            device.active = true;
            device.size = Some(1 << 30);
            (device.reads, device.writes, device.others) = (1204, 16, 9);
            (device.read_bytes, device.write_bytes) = (4_931_584, 65_536);
            device.latency = Latency {
                commands: 1229,
                sum_us: 151_900,
                up_to_us: vec![(64, 310), (128, 880), (256, 34), (4096, 5)],
            };
        }
        devices
    }

    fn targets(&self, model: &Model) -> Vec<Target> {
        let mut targets = self.0.targets(model);
        for target in &mut targets {
            target.rel_tgt_id = 1;
            target.sessions = 1;
            target.portals = vec!["192.0.2.1:3260".to_owned()];
        }
        targets
    }

    fn reservations(&self, _: &Model) -> Vec<Reservation> {
        vec![Reservation {
            device: "disk1".to_owned(),
            generation: 1,
            kind: Some("Write Exclusive".to_owned()),
            holders: vec![format!("{INITIATOR} at port 1")],
            registrants: vec![(INITIATOR.to_owned(), 1, "00000000c0ffee01".to_owned())],
            aptpl: false,
        }]
    }

    fn status(&self, model: &Model) -> Status {
        Status {
            uptime: 3600,
            portals: vec!["192.0.2.1:3260".to_owned()],
            sessions: 1,
            commands: 1229,
            read_bytes: 4_931_584,
            write_bytes: 65_536,
            buffers: 131_072,
            ..self.0.status(model)
        }
    }

    fn close_sessions(&self, _: &Path, _: Option<u64>) -> Result<(), Failure> {
        Ok(())
    }
}

/// What is another in each process.
fn settle(answer: &mut Value, file: &str) {
    let Some(ok) = answer.get_mut("ok") else {
        return;
    };
    if ok.get("pid").is_some() {
        ok["pid"] = json!(4711);
    }
    if ok.get("config").and_then(Value::as_str) == Some(file) {
        ok["config"] = json!("/etc/lunforge/scst.conf");
    }
}

#[test]
fn the_conversation_in_the_documentation_is_held() {
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/control.md");
    let written = std::fs::read_to_string(&document).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scst.conf");
    let shown = file.to_str().unwrap();
    std::fs::write(&file, "").unwrap();
    let paper = Paper::default();
    let managed = Arc::new(Managed::new(
        Manager::new(Model::new(), paper),
        Arc::new(Busy(paper)),
        ScstConf,
        Some(ConfigFile::new(&file)),
    ));
    let mut held = String::new();
    let mut answers = 0;
    for line in written.lines() {
        if line.starts_with("← ") {
            continue;
        }
        held += &format!("{line}\n");
        if let Some(request) = line.strip_prefix("→ ") {
            let answer = match Request::parse(request.as_bytes()) {
                Ok(request) => Answer::new(request.id, managed.answer(request.call)),
                Err(malformed) => Answer::new(malformed.id, Err(malformed.error)),
            };
            let mut answer = serde_json::to_value(answer).unwrap();
            settle(&mut answer, shown);
            held += &format!("← {answer}\n");
            answers += 1;
        }
    }
    assert!(answers >= 20);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&document, &held).unwrap();
    }
    for (line, (held, written)) in held.lines().zip(written.lines()).enumerate() {
        assert_eq!(held, written, "docs/control.md:{}", line + 1);
    }
    assert_eq!(held, written);
}
