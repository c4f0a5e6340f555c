//! Events at the wrong time, over loopback TCP: before there is a service, after it has ended, before a login.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, Target};
use lunforge_iscsi::proto::pdu::{
    self, BHS_LEN, Bhs, LoginRequest, LoginResponse, ScsiCommand, TaskAttribute, opcode,
};
use lunforge_iscsi::{AuthConfig, ChapAccount, ChapConfig, IscsiTransport};

const IQN: &str = "iqn.2026-11.org.example:blank";
const PATIENCE: Duration = Duration::from_secs(10);

fn transport(auth: AuthConfig) -> IscsiTransport {
    IscsiTransport::builder()
        .portal("127.0.0.1:0".parse().unwrap())
        .auth(auth)
        .bind()
        .unwrap()
}

fn target() -> (Arc<Target>, Arc<Controls>) {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    (
        Target::builder(IQN).lun(0, blank).build().unwrap(),
        controls,
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn login(stage: (u8, u8), keys: &str) -> Vec<u8> {
    let header = LoginRequest {
        immediate: true,
        transit: true,
        is_continue: false,
        current_stage: stage.0,
        next_stage: stage.1,
        version_max: 0,
        version_min: 0,
        data_segment_length: keys.len() as u32,
        isid: [0x80, 0, 0, 0, 0, 1],
        tsih: 0,
        itt: 0,
        cid: 0,
        cmd_sn: 1,
        exp_stat_sn: 0,
    };
    let mut bytes = header.emit().to_vec();
    bytes.extend_from_slice(keys.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn hello(more: &str) -> String {
    format!("InitiatorName=iqn.2026-11.org.example:client\0TargetName={IQN}\0{more}")
}

fn write_command(cmd_sn: u32) -> Vec<u8> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[8]) = (0x2a, 1);
    let command = ScsiCommand {
        immediate: false,
        is_final: true,
        read: false,
        write: true,
        attribute: TaskAttribute::Simple,
        ahs_words: 0,
        data_segment_length: 512,
        lun: [0; 8],
        itt: 1,
        expected_data_transfer_length: 512,
        cmd_sn,
        exp_stat_sn: 0,
        cdb,
    };
    [&command.emit()[..], &[7; 512]].concat()
}

fn pdu(stream: &mut TcpStream) -> Option<(Bhs, Vec<u8>)> {
    let mut bhs = [0; BHS_LEN];
    stream.read_exact(&mut bhs).ok()?;
    let mut data = vec![0; (pdu::data_segment_len(&bhs) as usize).next_multiple_of(4)];
    stream.read_exact(&mut data).ok()?;
    Some((bhs, data))
}

/// Whether the other end closes, whatever it says before.
fn ends(stream: &mut TcpStream) -> bool {
    let mut sink = [0; 4096];
    loop {
        match stream.read(&mut sink) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn n58_a_connection_made_before_there_is_a_service_is_served_when_there_is_one() {
    let transport = transport(AuthConfig::None);
    let address = transport.portals()[0];
    let mut early = connect(address);
    early.write_all(&login((1, 3), &hello(""))).unwrap();
    let mut gone = connect(address);
    gone.write_all(&login((1, 3), &hello("")))
        .and_then(|()| gone.shutdown(std::net::Shutdown::Both))
        .unwrap();
    drop(gone);
    let engine = Engine::builder().shards(2).start().unwrap();
    let (target, _) = target();
    let iscsi = engine.attach(transport, target).unwrap();
    let (bhs, _) = pdu(&mut early).expect("an answer");
    let response = LoginResponse::parse(&bhs).unwrap();
    // The other one has the same port: whichever came last has the session, the first gets an answer or an end.
    assert_eq!((response.status_class, response.status_detail), (0, 0));
    drop(iscsi);
    assert_eq!(engine.stop(PATIENCE).stuck_shards, 0);
}

#[test]
fn n58_a_transport_that_never_gets_a_service_ends_its_connections() {
    let transport = transport(AuthConfig::None);
    let address = transport.portals()[0];
    let mut waiting = connect(address);
    waiting.write_all(&login((1, 3), &hello(""))).unwrap();
    drop(transport);
    assert!(ends(&mut waiting));
    assert!(
        TcpStream::connect(address).is_err(),
        "nothing listens any more"
    );
}

#[test]
fn n58_connections_that_arrive_while_the_service_stops_end_and_none_is_left() {
    for round in 0..20 {
        let transport = transport(AuthConfig::None);
        let address = transport.portals()[0];
        let engine = Engine::builder().shards(1 + round % 2).start().unwrap();
        let (target, controls) = target();
        let iscsi = engine.attach(transport, target).unwrap();
        let mut crowd: Vec<TcpStream> = (0..8).map(|_| connect(address)).collect();
        let late = std::thread::spawn(move || {
            // Until nothing listens any more.
            (0..64)
                .map_while(|_| TcpStream::connect(address).ok())
                .collect::<Vec<_>>()
        });
        assert_eq!(engine.stop(PATIENCE).stuck_shards, 0);
        for stream in &mut crowd {
            assert!(ends(stream), "a connection outlives its service");
        }
        for mut stream in late.join().unwrap() {
            let _ = stream.write_all(&login((1, 3), &hello("")));
            let _ = stream.set_read_timeout(Some(PATIENCE));
            assert!(ends(&mut stream));
        }
        assert_eq!((iscsi.connections(), iscsi.sessions()), (0, 0));
        assert_eq!(controls.executed.load(Ordering::Relaxed), 0);
    }
}

fn chap() -> AuthConfig {
    let account = ChapAccount::new("user", "a-long-enough-secret").unwrap();
    AuthConfig::Chap(Arc::new(ChapConfig::new(vec![account], None).unwrap()))
}

#[test]
fn n09_a_command_before_or_inside_of_a_login_never_reaches_the_device() {
    for auth in [AuthConfig::None, chap()] {
        let transport = transport(auth);
        let address = transport.portals()[0];
        let engine = Engine::builder().shards(1).start().unwrap();
        let (target, controls) = target();
        let _iscsi = engine.attach(transport, target).unwrap();
        let mut first = connect(address);
        first.write_all(&write_command(1)).unwrap();
        assert!(ends(&mut first));
        // In the midst of the security stage, in one segment with the request before it.
        let mut inside = connect(address);
        let begun = login((0, 1), &hello("AuthMethod=CHAP,None\0"));
        inside
            .write_all(&[begun, write_command(1)].concat())
            .unwrap();
        assert!(ends(&mut inside));
        assert_eq!(controls.executed.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn n04_another_pdu_than_a_login_before_full_feature_is_answered_020b_or_by_the_end() {
    let transport = transport(AuthConfig::None);
    let address = transport.portals()[0];
    let engine = Engine::builder().shards(1).start().unwrap();
    let (target, _) = target();
    let _iscsi = engine.attach(transport, target).unwrap();
    for code in 0..=0x3f {
        if code == opcode::LOGIN_REQUEST {
            continue;
        }
        let mut stream = connect(address);
        let mut bhs = [0; BHS_LEN];
        bhs[0] = 0x40 | code;
        stream.write_all(&bhs).unwrap();
        if let Some((bhs, _)) = pdu(&mut stream) {
            let response = LoginResponse::parse(&bhs).expect("nothing but a login response");
            let status = (response.status_class, response.status_detail);
            assert_eq!(status, (2, 0x0b), "{code:02x}");
        }
        assert!(ends(&mut stream), "{code:02x}");
    }
}

fn command(itt: u32, cmd_sn: u32, write: bool) -> Vec<u8> {
    let mut bytes = write_command(cmd_sn);
    bytes[16..20].copy_from_slice(&itt.to_be_bytes());
    if !write {
        // TEST UNIT READY.
        bytes.truncate(BHS_LEN);
        bytes[1] = 0x81;
        bytes[5..8].fill(0);
        bytes[20..24].fill(0);
        bytes[32..48].fill(0);
    }
    bytes
}

#[test]
fn n01_a_login_cut_at_any_byte_ends_with_the_connection_and_is_not_answered() {
    let transport = transport(AuthConfig::None);
    let address = transport.portals()[0];
    let engine = Engine::builder().shards(1).start().unwrap();
    let (target, _) = target();
    let iscsi = engine.attach(transport, target).unwrap();
    let whole = login((1, 3), &hello(""));
    for cut in 0..whole.len() {
        let mut stream = connect(address);
        stream.write_all(&whole[..cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.is_empty(), "{cut}: {answer:02x?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{cut}"),
        }
    }
    assert_eq!(iscsi.sessions(), 0);
}

#[test]
fn n02_a_login_that_announces_more_than_8192_bytes_is_refused_from_its_header() {
    let transport = transport(AuthConfig::None);
    let address = transport.portals()[0];
    let engine = Engine::builder().shards(1).start().unwrap();
    let (target, _) = target();
    let _iscsi = engine.attach(transport, target).unwrap();
    for announced in [8193u32, 8196, 65_536, 1 << 20, (1 << 24) - 1] {
        let mut header = login((1, 3), "");
        header[5..8].copy_from_slice(&announced.to_be_bytes()[1..]);
        let mut stream = connect(address);
        // No data: whoever waits for it waits for ever.
        stream.write_all(&header).unwrap();
        if let Some((bhs, _)) = pdu(&mut stream) {
            assert_ne!(
                LoginResponse::parse(&bhs).unwrap().status_class,
                0,
                "{announced}"
            );
        }
        assert!(ends(&mut stream), "{announced}");
    }
    // What may come is waited for, and taken.
    let keys = hello(&format!("X-a={}\0", "y".repeat(200)));
    let mut stream = connect(address);
    stream.write_all(&login((1, 3), &keys)).unwrap();
    let (bhs, _) = pdu(&mut stream).expect("an answer");
    assert_eq!(LoginResponse::parse(&bhs).unwrap().status_class, 0);
}

#[test]
fn n08_commands_in_one_segment_with_the_last_login_pdu_are_executed_once_at_every_split() {
    let transport = transport(AuthConfig::None);
    let address = transport.portals()[0];
    let engine = Engine::builder().shards(2).start().unwrap();
    let (target, controls) = target();
    let _iscsi = engine.attach(transport, target).unwrap();
    let last = login((1, 3), &hello("InitialR2T=No\0ImmediateData=Yes\0"));
    let all = [last, command(1, 1, false), command(2, 2, true)].concat();
    for split in (0..all.len()).step_by(7).chain([all.len() - 1]) {
        let mut stream = connect(address);
        stream.set_nodelay(true).unwrap();
        stream.write_all(&all[..split]).unwrap();
        stream.write_all(&all[split..]).unwrap();
        let (bhs, _) = pdu(&mut stream).expect("a login response");
        assert_eq!(pdu::opcode_of(&bhs), opcode::LOGIN_RESPONSE, "{split}");
        let (first, _) = pdu(&mut stream).expect("power on");
        let (second, _) = pdu(&mut stream).expect("an answer");
        assert_eq!((first[3], first[19]), (2, 1), "{split}");
        assert_eq!((second[3], second[19]), (0, 2), "{split}");
    }
    let runs = all.len().div_ceil(7) + 1;
    assert_eq!(controls.executed.load(Ordering::Relaxed), runs);
}

#[test]
fn n08_a_connection_that_ends_at_any_state_of_its_login_leaves_nothing() {
    let chap_first = login((0, 1), &hello("AuthMethod=CHAP\0"));
    let plain_first = login((0, 1), &hello("AuthMethod=None\0"));
    let last = login((1, 3), "");
    for auth in [AuthConfig::None, chap()] {
        let begun = if matches!(auth, AuthConfig::None) {
            &plain_first
        } else {
            &chap_first
        };
        let transport = transport(auth);
        let address = transport.portals()[0];
        let engine = Engine::builder().shards(2).start().unwrap();
        let (target, _) = target();
        let iscsi = engine.attach(transport, target).unwrap();
        let whole = [&begun[..], &last, &command(1, 1, false)].concat();
        let states = [0, 1, 47, 48, begun.len() - 1, begun.len()];
        let behind = [48, last.len(), last.len() + 20, last.len() + 48].map(|n| begun.len() + n);
        for cut in states.into_iter().chain(behind) {
            for wait in [false, true] {
                let mut stream = connect(address);
                stream.write_all(&whole[..cut]).unwrap();
                if wait && cut >= begun.len() {
                    pdu(&mut stream);
                }
                // What was not read makes this a reset, else an end.
                drop(stream);
            }
        }
        let end = std::time::Instant::now() + PATIENCE;
        while iscsi.connections() + iscsi.sessions() > 0 {
            assert!(std::time::Instant::now() < end, "{iscsi:?}");
            std::thread::yield_now();
        }
    }
}
