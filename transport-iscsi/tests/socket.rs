//! The socket layer over loopback TCP, against peers that break rules, stall or come back too early.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, Target};
use lunforge_iscsi::io::Limits;
use lunforge_iscsi::proto::pdu::{
    self, AsyncMessage, BHS_LEN, Bhs, LoginRequest, LoginResponse, RESERVED_TAG, ScsiCommand,
    ScsiResponse, TaskAttribute, TaskManagementRequest, async_message, opcode,
    task_management_request::function,
};
use lunforge_iscsi::{
    Access, AttachError, AuthConfig, ChapAccount, ChapConfig, IscsiAttachment, IscsiTransport,
    TargetParams,
};

const IQN: &str = "iqn.2026-11.org.example:blank";
const PATIENCE: Duration = Duration::from_secs(10);

struct Served {
    iscsi: IscsiAttachment,
    engine: Engine,
    controls: Arc<Controls>,
}

fn serve(params: TargetParams, limits: Limits) -> Served {
    serve_with(params, limits, AuthConfig::None)
}

fn serve_with(params: TargetParams, limits: Limits, auth: AuthConfig) -> Served {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    let target = Target::builder(IQN).lun(0, blank).build().unwrap();
    let engine = Engine::builder().shards(2).start().unwrap();
    let transport = IscsiTransport::builder()
        .portal("127.0.0.1:0".parse().unwrap())
        .params(params)
        .limits(limits)
        .auth(auth)
        .bind()
        .unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    Served {
        iscsi,
        engine,
        controls,
    }
}

/// Pings off, short RspTimeout.
fn impatient() -> TargetParams {
    TargetParams {
        nop_in_interval: 0,
        rsp_timeout: 2,
        ..TargetParams::default()
    }
}

struct Client {
    stream: TcpStream,
    cmd_sn: u32,
    itt: u32,
}

impl Client {
    fn connect(served: &Served) -> Self {
        let stream = TcpStream::connect(served.iscsi.portals()[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            cmd_sn: 1,
            itt: 0,
        }
    }

    /// A session of the initiator port with this last ISID byte, its unit attention taken.
    fn login(served: &Served, isid: u8) -> Self {
        let mut client = Self::connect(served);
        client.send_login(isid);
        let (bhs, _) = client.pdu().expect("a login response");
        let response = LoginResponse::parse(&bhs).unwrap();
        assert_eq!((response.status_class, response.status_detail), (0, 0));
        assert!(response.transit && response.next_stage == 3);
        let command = client.command(0, &[0], true, 0);
        client.send(command.emit(), &[]);
        client.pdu().expect("a unit attention");
        client
    }

    fn send_login(&mut self, isid: u8) {
        let keys = format!(
            "InitiatorName=iqn.2026-11.org.example:client\0TargetName={IQN}\0SessionType=Normal\0\
             MaxRecvDataSegmentLength=65536\0InitialR2T=No\0ImmediateData=Yes\0FirstBurstLength=4096\0"
        );
        let header = LoginRequest {
            immediate: true,
            transit: true,
            is_continue: false,
            current_stage: 1,
            next_stage: 3,
            version_max: 0,
            version_min: 0,
            data_segment_length: keys.len() as u32,
            isid: [0x80, 0, 0, 0, 0, isid],
            tsih: 0,
            itt: 0,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
        };
        self.send(header.emit(), keys.as_bytes());
    }

    fn send(&mut self, bhs: Bhs, data: &[u8]) {
        let mut bytes = bhs.to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.stream.write_all(&bytes).expect("a connection");
    }

    fn command(
        &mut self,
        expected: u32,
        cdb: &[u8],
        is_final: bool,
        immediate: u32,
    ) -> ScsiCommand {
        self.itt += 1;
        let cmd_sn = self.cmd_sn;
        self.cmd_sn += 1;
        let mut whole = [0; 16];
        whole[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            immediate: false,
            is_final,
            read: whole[0] == 0x28,
            write: whole[0] == 0x2a,
            attribute: TaskAttribute::Simple,
            ahs_words: 0,
            data_segment_length: immediate,
            lun: [0; 8],
            itt: self.itt,
            expected_data_transfer_length: expected,
            cmd_sn,
            exp_stat_sn: 0,
            cdb: whole,
        }
    }

    fn read(&mut self, blocks: u16) {
        let [hi, lo] = blocks.to_be_bytes();
        let cdb = [0x28, 0, 0, 0, 0, 0, 0, hi, lo, 0];
        let command = self.command(u32::from(blocks) * 512, &cdb, true, 0);
        self.send(command.emit(), &[]);
    }

    fn write(&mut self, blocks: u16, immediate: &[u8]) {
        let [hi, lo] = blocks.to_be_bytes();
        let cdb = [0x2a, 0, 0, 0, 0, 0, 0, hi, lo, 0];
        let len = immediate.len() as u32;
        let command = self.command(u32::from(blocks) * 512, &cdb, true, len);
        self.send(command.emit(), immediate);
    }

    fn task_management(&mut self, function: u8) {
        self.itt += 1;
        let request = TaskManagementRequest {
            immediate: true,
            function,
            lun: [0; 8],
            itt: self.itt,
            referenced_task_tag: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
            ref_cmd_sn: 0,
            exp_data_sn: 0,
        };
        self.send(request.emit(), &[]);
    }

    /// The next PDU; `None` when the connection has ended.
    fn pdu(&mut self) -> Option<(Bhs, Vec<u8>)> {
        let mut bhs = [0; BHS_LEN];
        self.stream.read_exact(&mut bhs).ok()?;
        let len = pdu::data_segment_len(&bhs) as usize;
        let mut data = vec![0; len.next_multiple_of(4)];
        self.stream.read_exact(&mut data).ok()?;
        data.truncate(len);
        Some((bhs, data))
    }

    fn response(&mut self) -> (ScsiResponse, Vec<u8>) {
        let (bhs, data) = self.pdu().expect("a response");
        assert_eq!(pdu::opcode_of(&bhs), opcode::SCSI_RESPONSE, "{bhs:02x?}");
        (ScsiResponse::parse(&bhs).unwrap(), data)
    }

    /// Whether the target ends the connection within the bound, whatever it still sends.
    fn ends_within(&mut self, bound: Duration) -> bool {
        self.stream.set_read_timeout(Some(bound)).unwrap();
        let end = Instant::now() + bound;
        let mut sink = [0; 65_536];
        while Instant::now() < end {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
        false
    }
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn n20_a_command_refused_before_the_device_sees_it_is_answered() {
    let served = serve(TargetParams::default(), Limits::default());
    let mut client = Client::login(&served, 1);
    for _ in 0..100 {
        // More immediate data than FirstBurstLength.
        client.write(16, &[1; 8192]);
        let (response, sense) = client.response();
        assert_eq!((response.itt, response.status), (client.itt, 2));
        assert_eq!((sense[4] & 0x0f, sense[14], sense[15]), (0x0b, 0x0c, 0x0c));
    }
    client.write(8, &[1; 4096]);
    assert_eq!(client.response().0.status, 0);
}

#[test]
fn data_that_never_comes_ends_the_connection_without_pings_too() {
    let served = serve(impatient(), Limits::default());
    let mut client = Client::login(&served, 1);
    client.write(64, &[]);
    let (bhs, _) = client.pdu().expect("an R2T");
    assert_eq!(pdu::opcode_of(&bhs), opcode::R2T);
    assert!(client.ends_within(Duration::from_secs(5)));
    wait_until("the session ends", || served.iscsi.sessions() == 0);
}

#[test]
fn data_that_never_comes_does_not_wait_for_the_next_ping() {
    let params = TargetParams {
        nop_in_interval: 3600,
        ..impatient()
    };
    let served = serve(params, Limits::default());
    let mut client = Client::login(&served, 1);
    client.write(64, &[]);
    assert!(client.ends_within(Duration::from_secs(5)));
}

#[test]
fn n30_a_peer_that_never_reads_is_dropped_and_others_are_served() {
    let served = serve(impatient(), Limits::default());
    let mut deaf = Client::login(&served, 1);
    let mut other = Client::login(&served, 2);
    for _ in 0..31 {
        deaf.read(2048);
    }
    let end = Instant::now() + PATIENCE;
    while served.iscsi.sessions() == 2 {
        other.write(8, &[1; 4096]);
        assert_eq!(other.response().0.status, 0);
        assert!(
            Instant::now() < end,
            "the peer that does not read is still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    other.write(8, &[1; 4096]);
    assert_eq!(other.response().0.status, 0);
}

#[test]
fn an_idle_session_without_pings_stays_and_reads_slowly_in_peace() {
    let served = serve(impatient(), Limits::default());
    let mut client = Client::login(&served, 1);
    std::thread::sleep(Duration::from_secs(3));
    for _ in 0..16 {
        client.read(2048);
    }
    std::thread::sleep(Duration::from_secs(1));
    let (mut left, mut done) = (16 * 2048 * 512usize, 0);
    while left > 0 {
        let (bhs, data) = client.pdu().expect("data");
        assert_eq!(pdu::opcode_of(&bhs), opcode::DATA_IN);
        left -= data.len();
        done += usize::from(bhs[1] & 1);
    }
    assert_eq!(done, 16);
}

#[test]
fn n29_a_login_of_the_same_port_replaces_a_session_whose_backend_hangs() {
    let served = serve(TargetParams::default(), Limits::default());
    served.controls.can_fence.store(true, Ordering::Relaxed);
    let mut old = Client::login(&served, 1);
    served.controls.hold.store(true, Ordering::Relaxed);
    old.read(8);
    wait_until("the device has the command", || served.controls.held() == 1);
    served.controls.hold.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    let mut new = Client::login(&served, 1);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(old.ends_within(Duration::from_secs(1)));
    assert_eq!(served.iscsi.sessions(), 1);
    served.controls.complete_all();
    new.write(8, &[1; 4096]);
    assert_eq!(new.response().0.status, 0);
}

#[test]
fn n29_flapping_logins_of_one_port_leave_one_session() {
    let served = serve(TargetParams::default(), Limits::default());
    let mut crowd: Vec<_> = (0..64).map(|_| Client::connect(&served)).collect();
    crowd.iter_mut().for_each(|client| client.send_login(9));
    // Each is answered, or ends: none is still in the listener's queue.
    crowd.iter_mut().for_each(|client| drop(client.pdu()));
    wait_until("one is left", || {
        served.iscsi.sessions() == 1 && served.iscsi.connections() == 1
    });
    let mut last = Client::login(&served, 9);
    last.write(8, &[1; 4096]);
    assert_eq!(last.response().0.status, 0);
}

#[test]
fn n27_a_cold_reset_ends_all_sessions_of_the_target() {
    let served = serve(TargetParams::default(), Limits::default());
    let mut one = Client::login(&served, 1);
    let mut two = Client::login(&served, 2);
    one.task_management(function::TARGET_COLD_RESET);
    let (bhs, _) = one.pdu().expect("a response");
    assert_eq!(pdu::opcode_of(&bhs), opcode::TASK_MANAGEMENT_RESPONSE);
    assert_eq!(bhs[2], 0);
    assert!(one.ends_within(Duration::from_secs(2)));
    assert!(two.ends_within(Duration::from_secs(2)));
    wait_until("no session is left", || served.iscsi.sessions() == 0);
}

#[test]
fn n30_a_login_byte_by_byte_has_its_bound_and_takes_no_place_for_good() {
    let limits = Limits {
        half_open: 4,
        login_time: Duration::from_millis(600),
        ..Limits::default()
    };
    let served = serve(TargetParams::default(), limits);
    let mut slow: Vec<_> = (0..4).map(|_| Client::connect(&served)).collect();
    wait_until("all places are taken", || served.iscsi.connections() == 4);
    // The oldest gives way to a newcomer.
    let newcomer = Client::connect(&served);
    assert!(slow[0].ends_within(Duration::from_secs(2)));
    slow[0] = newcomer;
    assert_eq!(served.iscsi.counters().gave_way, 1);
    for byte in [0x43, 0x87, 0, 0] {
        for client in &mut slow {
            let _ = client.stream.write_all(&[byte]);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for client in &mut slow {
        assert!(client.ends_within(Duration::from_secs(2)));
    }
    wait_until("their places are free", || served.iscsi.connections() == 0);
    Client::login(&served, 1);
}

#[test]
fn n16_the_answer_to_a_failed_authentication_is_held_back() {
    let account = ChapAccount::new("user", "a-long-enough-secret").unwrap();
    let chap = ChapConfig::new(vec![account], None).unwrap();
    let limits = Limits {
        failure_delay: Duration::from_millis(300),
        ..Limits::default()
    };
    let auth = AuthConfig::Chap(Arc::new(chap));
    let served = serve_with(TargetParams::default(), limits, auth);
    let mut client = Client::connect(&served);
    let begun = Instant::now();
    client.send_login(1);
    let (bhs, _) = client.pdu().expect("a refusal");
    let response = LoginResponse::parse(&bhs).unwrap();
    assert_eq!((response.status_class, response.status_detail), (2, 1));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(client.ends_within(Duration::from_secs(1)));
}

#[test]
fn a_stopping_engine_says_so_and_ends_its_connections() {
    let served = serve(TargetParams::default(), Limits::default());
    let mut client = Client::login(&served, 1);
    let stopped = served.engine.stop(Duration::from_secs(3));
    assert_eq!(stopped.stuck_shards, 0);
    let (bhs, _) = client.pdu().expect("an asynchronous message");
    let message = AsyncMessage::parse(&bhs).unwrap();
    assert_eq!(pdu::opcode_of(&bhs), opcode::ASYNC_MESSAGE);
    assert_eq!(message.event, async_message::event::DROP_CONNECTION);
    assert!(client.ends_within(Duration::from_secs(1)));
}

#[test]
fn an_access_list_needs_its_target() {
    let target = Target::builder(IQN).lun(0, Blank::default()).build();
    let engine = Engine::builder().shards(1).start().unwrap();
    let transport = IscsiTransport::builder()
        .portal("127.0.0.1:0".parse().unwrap())
        .access("iqn.2026-11.org.example:blanc", Access::everybody())
        .bind();
    let refused = engine.attach(transport.unwrap(), target.unwrap());
    assert!(matches!(refused, Err(AttachError::AccessWithoutTarget(_))));
}
