//! The control socket from outside: what it says to good, wrong and slow clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use lunforge_daemon::control::line::MAX_LINE;
use lunforge_daemon::control::protocol::{Call, Code, Error, Printed};
use lunforge_daemon::control::{Answers, Client, ClientError, Endpoint, Owner, Server, Settings};
use serde_json::{Value, json};

/// Hello is answered at once, a save when the test says so, a print with many bytes; anything else is refused.
struct Double {
    saves: Mutex<Receiver<()>>,
}

impl Answers for Double {
    fn answer(&self, call: Call) -> Result<Value, Error> {
        match call {
            Call::Hello => Ok(json!("hello")),
            Call::Save { .. } => {
                self.saves.lock().unwrap().recv().unwrap();
                Ok(json!({}))
            }
            Call::Print { .. } => Ok(json!({ "config": "x".repeat(8 << 20) })),
            Call::Plan { config, .. } => Ok(json!({ "steps": [config.len().to_string()] })),
            _ => Err(Error::new(Code::Refused, "not here".to_owned())),
        }
    }
}

struct Running {
    server: Server,
    path: PathBuf,
    save: Sender<()>,
    _dir: tempfile::TempDir,
}

fn start(settings: Settings) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lunforge/control.sock");
    let endpoint = Endpoint::open(&path, Owner::default()).unwrap();
    let (save, saves) = channel();
    let saves = Mutex::new(saves);
    let server = Server::start(endpoint, Double { saves }, settings).unwrap();
    Running {
        server,
        path,
        save,
        _dir: dir,
    }
}

impl Running {
    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn stream(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(&self.path).unwrap())
    }
}

fn hello(client: &mut Client) -> String {
    client.call(Call::Hello).unwrap()
}

fn line(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or(Value::Null)
}

fn error_of(result: Result<Value, ClientError>) -> Error {
    match result {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_are_answered_in_order_and_errors_come_as_such() {
    let running = start(Settings::default());
    let mut client = running.client();
    assert_eq!(hello(&mut client), "hello");
    let error = error_of(client.call(Call::Status));
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Refused, "not here")
    );
    let mut stream = running.stream();
    let two = concat!(
        r#"{"v":1,"id":5,"call":"hello"}"#,
        "\n",
        r#"{"v":1,"id":6,"call":"status"}"#,
        "\n"
    );
    stream.get_mut().write_all(two.as_bytes()).unwrap();
    assert_eq!(line(&mut stream), json!({"id": 5, "ok": "hello"}));
    assert_eq!(line(&mut stream)["id"], 6);
}

#[test]
fn a_wrong_line_is_answered_and_the_connection_goes_on() {
    let running = start(Settings::default());
    let mut stream = running.stream();
    let long = "x".repeat(MAX_LINE + 1);
    for wrong in ["", "nonsense", "{\"v\":1}", "\u{0}\u{1}", &long] {
        stream.get_mut().write_all(wrong.as_bytes()).unwrap();
        stream.get_mut().write_all(b"\n").unwrap();
        assert_eq!(
            line(&mut stream)["error"]["code"],
            "request",
            "{:.20}",
            wrong
        );
    }
    let fine = b"{\"v\":1,\"id\":1,\"call\":\"hello\"}\n";
    for byte in fine {
        stream.get_mut().write_all(&[*byte]).unwrap();
    }
    assert_eq!(line(&mut stream), json!({"id": 1, "ok": "hello"}));
}

#[test]
fn of_long_lines_one_is_held_at_a_time() {
    let running = start(Settings::default());
    let mut first = running.stream();
    let part = format!(
        r#"{{"v":1,"id":1,"call":"plan","config":"{}"#,
        "x".repeat(2 * MAX_LINE)
    );
    first.get_mut().write_all(part.as_bytes()).unwrap();
    // The server has read more than a short line when the second cannot have its place.
    let end = Instant::now() + Duration::from_secs(10);
    let plan = |config: String| Call::Plan {
        config,
        mode: Default::default(),
    };
    let mut client = running.client();
    let mut refused = false;
    while !refused && Instant::now() < end {
        let result: Result<Value, _> = client.call(plan("y".repeat(2 * MAX_LINE)));
        refused = result.is_err_and(|error| error.to_string().contains("another"));
    }
    assert!(refused);
    assert_eq!(hello(&mut client), "hello");
    first.get_mut().write_all(b"\"}\n").unwrap();
    assert_eq!(
        line(&mut first)["ok"]["steps"][0],
        (2 * MAX_LINE).to_string()
    );
    let result: Value = client.call(plan("z".repeat(3 * MAX_LINE))).unwrap();
    assert_eq!(result["steps"][0], (3 * MAX_LINE).to_string());
}

#[test]
fn a_question_does_not_wait_for_what_another_client_does() {
    let running = start(Settings::default());
    let mut saving = running.client();
    let thread = std::thread::spawn(move || saving.call::<Value>(Call::Save { all: false }));
    let mut client = running.client();
    assert_eq!(hello(&mut client), "hello");
    running.save.send(()).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_client_too_many_is_told_so_and_a_place_is_free_when_one_leaves() {
    let running = start(Settings {
        clients: 2,
        ..Settings::default()
    });
    let mut clients = [running.client(), running.client()];
    clients.iter_mut().for_each(|client| {
        hello(client);
    });
    let error = error_of(running.client().call(Call::Hello));
    assert!(error.message.contains("2 clients"), "{error}");
    drop(clients);
    let end = Instant::now() + Duration::from_secs(10);
    while running.client().call::<Value>(Call::Hello).is_err() {
        assert!(Instant::now() < end, "no place gets free");
    }
}

#[test]
fn who_is_silent_or_sends_a_line_without_end_in_time_is_dropped() {
    let quick = Duration::from_millis(100);
    let running = start(Settings {
        idle: quick,
        line: quick,
        ..Settings::default()
    });
    let mut rest = Vec::new();
    let mut silent = running.stream();
    assert_eq!(silent.read_to_end(&mut rest).unwrap(), 0);
    let mut slow = running.stream();
    let begun = Instant::now();
    // A byte now and then does not prolong the time of the line.
    while slow.get_mut().write_all(b"{").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never dropped");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_does_not_read_is_dropped_and_others_are_served() {
    let running = start(Settings {
        clients: 2,
        send: Duration::from_millis(200),
        ..Settings::default()
    });
    let mut deaf = running.stream();
    let print = b"{\"v\":1,\"id\":1,\"call\":\"print\"}\n";
    deaf.get_mut().write_all(print).unwrap();
    assert_eq!(hello(&mut running.client()), "hello");
    let end = Instant::now() + Duration::from_secs(10);
    while deaf.get_mut().write_all(print).is_ok() {
        assert!(Instant::now() < end, "never dropped");
        std::thread::sleep(Duration::from_millis(20));
    }
    let printed: Printed = running.client().call(Call::Print { all: false }).unwrap();
    assert_eq!(printed.config.len(), 8 << 20);
}

#[test]
fn nobody_running_is_said_with_how_to_start() {
    let running = start(Settings::default());
    let path = running.path.clone();
    assert!(running.server.stop(Duration::from_secs(5)));
    assert!(!path.exists());
    let said = Client::connect(&path).unwrap_err().to_string();
    assert!(said.contains("lunforge serve"), "{said}");
}

#[test]
fn an_answer_under_way_is_still_sent_at_the_end() {
    let running = start(Settings::default());
    let mut saving = running.client();
    let mut client = running.client();
    let thread = std::thread::spawn(move || saving.call::<Value>(Call::Save { all: false }));
    // The save has begun when the server has taken what was sent before this question.
    hello(&mut client);
    std::thread::sleep(Duration::from_millis(50));
    let (save, server) = (running.save, running.server);
    let stop = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    std::thread::sleep(Duration::from_millis(50));
    save.send(()).unwrap();
    thread.join().unwrap().unwrap();
    assert!(stop.join().unwrap());
    assert!(client.call::<Value>(Call::Hello).is_err());
}
