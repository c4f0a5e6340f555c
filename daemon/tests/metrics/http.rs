//! The port, as clients of HTTP use and misuse it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use lunforge_daemon::metrics::{Bounds, Server, Snapshot};

const LONG: Duration = Duration::from_secs(20);

fn server(bounds: Bounds) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = || Snapshot {
        version: "1.2.3".to_owned(),
        ..Snapshot::default()
    };
    let server = Server::start(listener, source, bounds).unwrap();
    let address = server.address().unwrap();
    (server, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn rest(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    rest(&stream)
}

/// Status line, header and body.
fn parts(response: &str) -> (&str, &str, &str) {
    let (head, body) = response.split_once("\r\n\r\n").expect(response);
    let (status, header) = head.split_once("\r\n").unwrap();
    (status, header, body)
}

#[test]
fn metrics_are_got() {
    let (_server, address) = server(Bounds::default());
    for path in ["/metrics", "/metrics?name=x"] {
        let response = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (status, header, body) = parts(&response);
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(header.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"));
        assert!(header.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(header.contains("Connection: close"));
        assert!(body.contains("lunforge_build_info{version=\"1.2.3\"} 1\n"));
    }
}

#[test]
fn head_is_get_without_the_body() {
    let (_server, address) = server(Bounds::default());
    let got = ask(address, "GET /healthz HTTP/1.1\r\n\r\n");
    let head = ask(address, "HEAD /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(parts(&got).2, "ok\n");
    assert_eq!(format!("{head}ok\n"), got);
}

#[test]
fn what_is_not_there_or_not_allowed_is_refused() {
    let (_server, address) = server(Bounds::default());
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("GET /metrics\r\n\r\n", "400 Bad Request"),
        ("\r\n\r\n", "400 Bad Request"),
    ] {
        let response = ask(address, request);
        assert_eq!(
            parts(&response).0,
            format!("HTTP/1.1 {status}"),
            "{request:?}"
        );
    }
}

#[test]
fn a_request_may_come_in_pieces() {
    let (_server, address) = server(Bounds::default());
    let mut stream = connect(address);
    for piece in ["GE", "T /healthz HT", "TP/1.1\r", "\n\r", "\n"] {
        stream.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(parts(&rest(&stream)).2, "ok\n");
}

#[test]
fn a_request_that_is_too_long_is_refused() {
    let (_server, address) = server(Bounds::default());
    let mut stream = connect(address);
    let header = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(16 << 10));
    // It may be refused while it is sent.
    let _ = stream.write_all(header.as_bytes());
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}

#[test]
fn a_client_that_is_silent_or_ends_early_is_let_go() {
    let time = Duration::from_millis(200);
    let bounds = Bounds {
        time,
        ..Bounds::default()
    };
    let (_server, address) = server(bounds);
    let begun = Instant::now();
    let stream = connect(address);
    assert_eq!(rest(&stream), "");
    assert!(begun.elapsed() >= time);
    let stream = connect(address);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), "");
}

#[test]
fn clients_that_are_silent_or_do_not_leave_do_not_keep_others_out() {
    let (_server, address) = server(Bounds::default());
    let begun = Instant::now();
    let mut crowd = Vec::new();
    for round in 0..40 {
        let mut silent = connect(address);
        if round % 3 == 1 {
            silent.write_all(b"GET /met").unwrap();
        } else if round % 3 == 2 {
            // It has its answer, and stays.
            silent.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        }
        crowd.push(silent);
        if round % 8 == 7 {
            assert_eq!(
                parts(&ask(address, "GET /healthz HTTP/1.1\r\n\r\n")).2,
                "ok\n"
            );
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn the_oldest_client_that_is_silent_gives_way_and_one_that_is_answered_does_not() {
    let bounds = Bounds {
        clients: 2,
        ..Bounds::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (asked, go_on) = (mpsc::channel(), mpsc::channel::<()>());
    let (tell, wait) = (Mutex::new(asked.0), Mutex::new(go_on.1));
    let source = move || {
        tell.lock().unwrap().send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        Snapshot::default()
    };
    let server = Server::start(listener, source, bounds).unwrap();
    let address = server.address().unwrap();
    let mut slow = connect(address);
    slow.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    asked.1.recv_timeout(LONG).unwrap();
    let silent = [connect(address), connect(address), connect(address)];
    assert_eq!(rest(&silent[0]), "");
    assert_eq!(rest(&silent[1]), "");
    assert_eq!(
        parts(&ask(address, "GET /healthz HTTP/1.1\r\n\r\n")).2,
        "ok\n"
    );
    assert_eq!(rest(&silent[2]), "");
    go_on.0.send(()).unwrap();
    assert!(rest(&slow).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn the_port_is_free_when_the_server_is_dropped() {
    let (server, address) = server(Bounds::default());
    drop(server);
    assert!(TcpStream::connect(address).is_err());
    TcpListener::bind(address).unwrap();
}
