//! A process without descriptors. Alone in its process, since it takes all of them.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use lunforge_core::testing::doubles::Blank;
use lunforge_core::{Engine, Target};
use lunforge_iscsi::IscsiTransport;
use rustix::net::{AddressFamily, SocketType};

#[test]
fn n30_out_of_descriptors_a_peer_is_turned_away_and_heard_again_when_there_are_some() {
    let target = Target::builder("iqn.2026-11.org.example:blank").lun(0, Blank::default());
    let engine = Engine::builder().shards(1).start().unwrap();
    let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
    let iscsi = engine.attach(transport, target.build().unwrap()).unwrap();
    let portal = iscsi.portals()[0];
    // The peers' own sockets, made while there are descriptors.
    let sockets: Vec<OwnedFd> = (0..8)
        .map(|_| rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap())
        .collect();
    let mut taken = Vec::new();
    while let Ok(fd) = rustix::io::dup(&sockets[0]) {
        taken.push(fd);
        assert!(taken.len() < 10_000_000);
    }
    for socket in sockets {
        let mut peer = connected(socket, portal);
        // A close or a reset, and not silence.
        let end = peer.read(&mut [0; 1]).map_err(|error| error.kind());
        let silent = end == Err(std::io::ErrorKind::WouldBlock);
        assert!(end != Ok(1) && !silent, "{end:?}");
        // Its descriptor is not to help the next one.
        std::mem::forget(peer);
    }
    assert_eq!(iscsi.counters().refused_descriptors, 8);
    assert_eq!(iscsi.connections(), 0);
    drop(taken);
    let peer = TcpStream::connect(portal).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let heard = (&peer).read(&mut [0; 1]).unwrap_err();
    assert_eq!(
        heard.kind(),
        std::io::ErrorKind::WouldBlock,
        "it is waited for its login"
    );
}

fn connected(socket: OwnedFd, portal: SocketAddr) -> TcpStream {
    rustix::net::connect(&socket, &portal).unwrap();
    let stream = TcpStream::from(socket);
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).unwrap();
    stream
}
