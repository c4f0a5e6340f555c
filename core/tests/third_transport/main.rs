//! A third transport in less than 300 lines, as docs/architecture.md describes it.

mod transport;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, Target};
use transport::{Tiny, TinyTransport};

struct Bed {
    tiny: Tiny,
    controls: Arc<Controls>,
    target: Arc<Target>,
    engine: Engine,
}

fn serve() -> Bed {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    controls.can_fence.store(true, Relaxed);
    let target = Target::builder("tiny").lun(0, blank).build().unwrap();
    let engine = Engine::builder().shards(2).start().unwrap();
    let tiny = engine.attach(TinyTransport, Arc::clone(&target)).unwrap();
    Bed {
        tiny,
        controls,
        target,
        engine,
    }
}

struct Client(UnixStream);

struct Answer {
    tag: u8,
    status: u8,
    sense: Vec<u8>,
    data: Vec<u8>,
}

impl Bed {
    fn connect(&self, name: &[u8; 8]) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.tiny.serve(theirs).unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut client = Client(ours);
        client.0.write_all(name).unwrap();
        client
    }

    fn until(&self, mut what: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !what(self) {
            assert!(Instant::now() < end, "waited in vain");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Client {
    fn send(&mut self, kind: u8, tag: u8, cdb: &[u8], data_in: u16, data_out: &[u8]) {
        let mut request = vec![kind, tag, 0, cdb.len() as u8];
        request.extend(data_in.to_be_bytes());
        request.extend((data_out.len() as u16).to_be_bytes());
        request.extend(cdb);
        request.extend(data_out);
        self.0.write_all(&request).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut head = [0; 6];
        self.0.read_exact(&mut head).unwrap();
        let [tag, status, s1, s0, d1, d0] = head;
        let mut part = |high, low| {
            let mut bytes = vec![0; usize::from(u16::from_be_bytes([high, low]))];
            self.0.read_exact(&mut bytes).unwrap();
            bytes
        };
        Answer {
            tag,
            status,
            sense: part(s1, s0),
            data: part(d1, d0),
        }
    }

    fn run(&mut self, cdb: &[u8], data_in: u16, data_out: &[u8]) -> Answer {
        self.send(0, 1, cdb, data_in, data_out);
        self.answer()
    }
}

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];

#[test]
fn commands_go_both_ways_and_sense_data_comes_back() {
    let bed = serve();
    let mut client = bed.connect(b"client-1");
    // The unit attention of a new I_T nexus.
    let first = client.run(&[0; 6], 0, &[]);
    assert_eq!((first.status, first.sense[12]), (2, 0x29));
    assert_eq!(client.run(&READ, 512, &[]).data, [0xA5; 512]);
    assert_eq!(client.run(&WRITE, 0, &[7; 512]).status, 0);
    assert_eq!(client.run(&[0xFF; 6], 0, &[]).sense[12], 0x20);
}

#[test]
fn an_abort_ends_its_command_and_a_reset_is_told_to_another_session() {
    let bed = serve();
    let (mut one, mut two) = (bed.connect(b"client-1"), bed.connect(b"client-2"));
    one.run(&[0; 6], 0, &[]);
    two.run(&[0; 6], 0, &[]);
    bed.controls.hold.store(true, Relaxed);
    one.send(0, 7, &READ, 512, &[]);
    bed.until(|bed| bed.controls.held() == 1);
    one.send(1, 8, &[7], 0, &[]);
    let answer = one.answer();
    assert_eq!((answer.tag, answer.status), (8, 0));
    two.send(2, 9, &[], 0, &[]);
    assert_eq!(two.answer().tag, 9);
    bed.controls.hold.store(false, Relaxed);
    bed.controls.complete_all();
    let told = one.run(&[0; 6], 0, &[]);
    assert_eq!(told.sense[12..14], [0x29, 3]);
}

#[test]
fn a_session_ends_with_its_connection_and_all_of_them_with_the_engine() {
    let bed = serve();
    let mut gone = bed.connect(b"client-1");
    gone.run(&[0; 6], 0, &[]);
    bed.controls.hold.store(true, Relaxed);
    gone.send(0, 1, &READ, 512, &[]);
    bed.until(|bed| bed.controls.held() == 1);
    drop(gone);
    bed.until(|bed| bed.target.sessions().is_empty());
    bed.controls.complete_all();
    bed.controls.hold.store(false, Relaxed);
    let mut stays = bed.connect(b"client-2");
    stays.run(&[0; 6], 0, &[]);
    assert_eq!(bed.target.sessions().len(), 1);
    drop(bed.engine);
    assert_eq!(stays.0.read(&mut [0; 1]).unwrap(), 0);
    assert!(bed.target.sessions().is_empty());
}

#[test]
fn what_is_no_request_ends_its_connection() {
    let bed = serve();
    let mut client = bed.connect(b"client-1");
    client.send(9, 0, &[], 0, &[]);
    assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0);
    bed.until(|bed| bed.target.sessions().is_empty());
}

#[test]
fn the_transport_is_as_short_as_it_is_said_to_be() {
    let lines = include_str!("transport.rs").lines().count();
    assert!(lines < 300, "{lines}");
}
