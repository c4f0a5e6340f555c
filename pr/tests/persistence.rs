//! The APTPL file: what survives what.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use lunforge_core::transport_id::TransportId;
use lunforge_pr::{
    Damage, Directory, FileStore, ItNexus, Persistence, PersistenceError, Reservation,
    ReservationKey, ReservationType, State, decode, encode,
};
use proptest::prelude::*;

fn nexus(i: usize) -> ItNexus {
    let name = format!("iqn.2026-11.org.example:host-{i:05}");
    ItNexus::new(
        TransportId::iscsi(&name, [1, 2, 3, 4, 5, 6]).unwrap(),
        1 + (i % 3) as u16,
    )
}

fn state(registrants: usize, kind: Option<ReservationType>) -> State {
    let keys: BTreeMap<_, _> = (0..registrants)
        .map(|i| (nexus(i), ReservationKey(i as u64 + 1)))
        .collect();
    let reservation = kind.map(|kind| Reservation::new(kind, nexus(registrants / 2)));
    State::from_parts(0, keys, reservation, true).unwrap()
}

#[test]
fn every_state_reads_back() {
    let mut states = vec![state(0, None), state(1, None), state(7, None)];
    states.extend(ReservationType::ALL.map(|kind| state(5, Some(kind))));
    let srp = ItNexus::new(TransportId::Srp([9; 16]), 65535);
    let keys = BTreeMap::from([(srp, ReservationKey(u64::MAX))]);
    states.push(State::from_parts(0, keys, None, true).unwrap());
    for state in states {
        assert_eq!(decode(&encode(&state)), Ok(state));
    }
}

#[test]
fn the_generation_begins_at_zero_and_the_rest_is_as_it_was() {
    let keys = BTreeMap::from([(nexus(1), ReservationKey(5))]);
    let state = State::from_parts(77, keys.clone(), None, true).unwrap();
    let read = decode(&encode(&state)).unwrap();
    assert_eq!((read.generation(), read.registrants()), (0, &keys));
}

#[test]
fn the_bytes_are_those_that_the_format_says() {
    let keys = BTreeMap::from([(
        ItNexus::new(TransportId::Srp([9; 16]), 2),
        ReservationKey(3),
    )]);
    let holder = Reservation::new(
        ReservationType::WriteExclusive,
        ItNexus::new(TransportId::Srp([9; 16]), 2),
    );
    let file = encode(&State::from_parts(1, keys, Some(holder), true).unwrap());
    let mut expected = b"LUNFAPTL".to_vec();
    expected.extend([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 36]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 3, 0, 2, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([9; 16]);
    assert_eq!(file[..file.len() - 4], expected);
}

#[test]
fn n39_ten_thousand_registrants_read_back() {
    let state = state(10_000, Some(ReservationType::ExclusiveAccess));
    assert_eq!(decode(&encode(&state)), Ok(state));
}

#[test]
fn n39_a_file_cut_anywhere_or_with_a_bit_flipped_is_damaged() {
    let file = encode(&state(3, Some(ReservationType::ExclusiveAccess)));
    for len in 0..file.len() {
        assert!(decode(&file[..len]).is_err(), "{len} bytes");
    }
    for bit in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
    let longer = [&file[..], &[0]].concat();
    assert_eq!(decode(&longer), Err(Damage::Length { len: longer.len() }));
}

#[test]
fn n39_a_newer_version_and_a_foreign_file_are_named_as_such() {
    let mut file = encode(&state(3, None));
    file[11] = 2;
    assert_eq!(decode(&file), Err(Damage::Version(2)));
    assert_eq!(decode(b"[Unit]\nDescription=x"), Err(Damage::Magic));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let head = encode(&state(0, None));
        bytes.splice(0..0, head[..16].iter().copied());
        let _ = decode(&bytes);
    }
}

/// A directory whose power may fail. Content that was not synced is there in part or not at all; names that were not
/// synced are the old or the new ones.
#[derive(Clone, Default)]
struct Fragile(Arc<Mutex<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    /// Content of each file ever made, and how much of it is durable.
    files: Vec<(Vec<u8>, bool)>,
    names: BTreeMap<String, usize>,
    /// Every set of names since the last sync, the durable one first.
    history: Vec<BTreeMap<String, usize>>,
    /// Steps left before each further one fails.
    left: Option<usize>,
}

impl Inner {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn renamed(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        if self.history.is_empty() {
            self.history.push(self.names.clone());
        }
        change(&mut self.names);
        self.history.push(self.names.clone());
    }

    /// Each directory that there may be after the power failed.
    fn after_power_failure(&self) -> Vec<Fragile> {
        let sets = if self.history.is_empty() {
            vec![self.names.clone()]
        } else {
            self.history.clone()
        };
        let mut all = Vec::new();
        for names in sets {
            for part in 0..=4 {
                let survives = |(content, synced): &(Vec<u8>, bool)| {
                    let len = if *synced {
                        content.len()
                    } else {
                        content.len() * part / 4
                    };
                    (content[..len].to_vec(), true)
                };
                let files = self.files.iter().map(survives).collect();
                let names = names.clone();
                let inner = Self {
                    files,
                    names,
                    ..Self::default()
                };
                all.push(Fragile(Arc::new(Mutex::new(inner))));
            }
        }
        all
    }
}

impl Directory for Fragile {
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        // Half of it may have been written when there is no room.
        let result = inner.step();
        let written = if result.is_ok() {
            bytes
        } else {
            &bytes[..bytes.len() / 2]
        };
        let file = inner.files.len();
        inner.files.push((written.to_vec(), false));
        inner.renamed(|names| {
            names.insert(name.into(), file);
        });
        result
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        let file = inner.names[name];
        inner.files[file].1 = true;
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        inner.renamed(|names| {
            let file = names.remove(from).unwrap();
            names.insert(to.into(), file);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        inner.renamed(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.step()?;
        inner.history.clear();
        Ok(())
    }

    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let inner = self.0.lock().unwrap();
        let file = inner
            .names
            .get(name)
            .map(|file| inner.files[*file].0.clone());
        Ok(file.map(|content| content[..content.len().min(limit)].to_vec()))
    }

    fn path(&self, name: &str) -> String {
        name.into()
    }
}

#[test]
fn n39_after_a_power_failure_at_any_step_the_file_is_the_old_or_the_new_one() {
    let absent = State::default();
    let (small, large) = (
        state(1, None),
        state(4, Some(ReservationType::WriteExclusive)),
    );
    let changes = [
        (&absent, &small),
        (&small, &large),
        (&large, &small),
        (&large, &absent),
    ];
    let kept = |state: &State| state.aptpl().then(|| state.clone());
    for (old, new) in changes {
        for left in 0..6 {
            let directory = Fragile::default();
            let store = FileStore::within(directory.clone(), "unit");
            store.store(old).unwrap();
            directory.0.lock().unwrap().left = Some(left);
            let done = store.store(new).is_ok();
            for after in directory.0.lock().unwrap().after_power_failure() {
                let found = FileStore::within(after, "unit").load().unwrap();
                if done {
                    assert_eq!(found, kept(new), "GOOD means durable");
                } else {
                    assert!(
                        found == kept(old) || found == kept(new),
                        "after {left} steps: {found:?}"
                    );
                }
            }
            // The disk recovers: what was before is stored back and counts.
            directory.0.lock().unwrap().left = None;
            store.store(old).unwrap();
            for after in directory.0.lock().unwrap().after_power_failure() {
                assert_eq!(FileStore::within(after, "unit").load().unwrap(), kept(old));
            }
        }
    }
}

#[test]
fn a_file_of_the_operating_system_is_written_replaced_removed_and_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unit.aptpl");
    let store = FileStore::new(&path).unwrap();
    assert_eq!(store.load().unwrap(), None);
    for kept in [
        state(2, None),
        state(3, Some(ReservationType::ExclusiveAccess)),
    ] {
        store.store(&kept).unwrap();
        assert_eq!(store.load().unwrap(), Some(kept));
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    store.store(&State::default()).unwrap();
    store.store(&State::default()).unwrap();
    assert!(!path.exists());
    std::fs::write(&path, b"rubbish, and more than eight bytes").unwrap();
    assert!(matches!(
        store.load(),
        Err(PersistenceError::Damaged {
            source: Damage::Magic,
            ..
        })
    ));
    store.set_aside().unwrap();
    assert!(!path.exists() && directory.path().join("unit.aptpl.damaged").exists());
    assert!(FileStore::new("..").is_err());
}

#[test]
fn n39_a_directory_that_is_gone_is_an_error() {
    let store = FileStore::new("/nonexistent/unit.aptpl").unwrap();
    assert!(store.store(&state(1, None)).is_err());
    assert!(store.load().is_err());
}

/// The child of the test below: stores one state after the other until it is killed, and says which it has stored.
#[test]
#[ignore = "run by the test below"]
fn child_that_stores_forever() {
    let store = FileStore::new(std::env::var_os("APTPL_FILE").unwrap()).unwrap();
    for i in 1.. {
        store.store(&state(i % 50 + 1, None)).unwrap();
        println!("stored {}", i % 50 + 1);
    }
}

#[test]
fn n39_keys_survive_kill_9() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unit.aptpl");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "child_that_stores_forever",
            "--nocapture",
        ])
        .env("APTPL_FILE", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stored = |line: io::Result<String>| {
        line.unwrap()
            .strip_prefix("stored ")
            .map(|n| n.parse::<usize>().unwrap())
    };
    let mut last = lines.by_ref().filter_map(stored).nth(40).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it was killed counts, and at most one more was stored.
    last = lines.filter_map(stored).last().unwrap_or(last);
    let found = FileStore::new(&path).unwrap().load().unwrap().unwrap();
    let next = last % 50 + 1;
    assert!(
        found == state(last, None) || found == state(next, None),
        "{last}"
    );
}
