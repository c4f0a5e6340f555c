//! The commands of `docs/management.md`, as a reader types them.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// The shell blocks of a page, in their order.
fn blocks(page: &str) -> String {
    let mut shell = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => shell += &format!("{line}\n"),
            _ => {}
        }
    }
    shell
}

#[test]
fn the_set_up_from_nothing_works_as_documented() {
    let page = std::fs::read_to_string("../docs/management.md").unwrap();
    // A port that nobody else has.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let commands = blocks(&page).replace("127.0.0.1:3260", &format!("127.0.0.1:{port}"));
    assert!(commands.contains(&format!(":{port}\n")), "{commands}");
    let folder = tempfile::tempdir().unwrap();
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_lunforge"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // What a reader does without being told: waits until it serves, and stops it in the end.
    let script = format!(
        "set -eu\n\
         trap 'kill -TERM $! && wait $!' EXIT\n\
         {}",
        commands.replacen(
            "export LUNFORGE_CONTROL",
            "for _ in $(seq 200); do [ -S control.sock ] && break; sleep 0.05; done\nexport LUNFORGE_CONTROL",
            1,
        )
    );
    let mut shell = Command::new("bash")
        .current_dir(folder.path())
        .env("PATH", path)
        .env_remove("LUNFORGE_CONTROL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = shell.wait_with_output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{script}\n{out}\n{err}");
    assert!(out.contains("2, 2 enabled"), "{out}");
    assert!(out.contains("Nothing to change. Saved."), "{out}");
    let saved = std::fs::read_to_string(folder.path().join("scst.conf")).unwrap();
    for line in [
        "DEVICE a {",
        "GROUP hosts {",
        "IncomingUser \"alice a-secret-of-16-byte\"",
        "bob a-secret-of-his-own",
        "portal 127.0.0.1:",
    ] {
        assert!(saved.contains(line), "{saved}");
    }
}
