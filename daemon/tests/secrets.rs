//! CHAP over the program: nobody learns anything without a secret, and the secret is nowhere to be found.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use common::{Export, Place, Who, is_root, refusal};
use lunforge_bench::initiator::{Chap, Credentials, Error, Initiator, Options, send_targets};

const SECRET: &str = "Aep9Zee4ohs6iecha";
const ANSWER: &str = "thai8Oow0aThoh9qu";
const DENIED: (u8, u8) = (2, 1);
const FORBIDDEN: (u8, u8) = (2, 2);
const NOT_FOUND: (u8, u8) = (2, 3);

fn options(name: &str, user: &str, secret: &str) -> Options {
    Options {
        chap: Some(Chap::new(user, secret)),
        ..Export::options(name)
    }
}

/// A target with CHAP both ways and what else is asked for.
fn guarded(place: &Place, more: &[&str]) -> Export {
    let incoming = place.file("in", 0o600, format!("# who\nalice {SECRET}\n"));
    let outgoing = place.file("out", 0o400, format!("target {ANSWER}\n"));
    let args = [
        "--null",
        "1M",
        "--chap",
        &incoming,
        "--mutual-chap",
        &outgoing,
    ];
    place.start(&[&args, more].concat())
}

#[test]
fn n10_n16_without_the_secret_everything_is_answered_alike() {
    let place = Place::new(Who::Ordinary);
    let quick = ["--limit", "failure-delay=50ms", "--limit", "failures=1000"];
    let export = guarded(&place, &quick);
    let strangers = [
        Export::options("a"),
        Options {
            skip_security: true,
            ..Export::options("a")
        },
        options("a", "alice", ANSWER),
        options("a", "bob", SECRET),
    ];
    // Of one address four answers are held back at a time, and further ones not given.
    for stranger in &strangers {
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(refusal(send_targets(export.address, stranger)), DENIED));
            // A target that is not there looks the same.
            for target in [&export.target, "iqn.2026-11.org.lunforge:none", "x"] {
                let probe = || Initiator::connect(export.address, target, stranger);
                scope.spawn(move || assert_eq!(refusal(probe()), DENIED));
            }
        });
    }
    let alice = options("a", "alice", SECRET);
    let found = send_targets(export.address, &alice).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, export.target);
    let mut session = export.connect(&alice).unwrap();
    session.ready(0, 4).unwrap();
    // Somebody without the secret neither ends nor finds the session of alice.
    for tsih in [0, session.params().tsih, 77] {
        let thief = Options {
            tsih,
            ..options("a", "alice", ANSWER)
        };
        assert_eq!(refusal(export.connect(&thief)), DENIED);
    }
    session.ready(0, 1).unwrap();
    export.stop();
}

#[test]
fn both_sides_prove_themselves() {
    let place = Place::new(Who::Us);
    let export = guarded(&place, &[]);
    let both = |secret: &str| {
        let mut options = options("a", "alice", SECRET);
        if let Some(chap) = &mut options.chap {
            chap.mutual = Some(Credentials {
                user: "target".into(),
                secret: secret.into(),
            });
        }
        export.connect(&options)
    };
    both(ANSWER).unwrap();
    assert!(matches!(both(SECRET), Err(Error::Login(_))));
}

#[test]
fn only_named_initiators_log_in_and_find_the_target() {
    let place = Place::new(Who::Ordinary);
    let named = [
        "--initiator",
        "iqn.2026-11.org.example:A",
        "--initiator",
        "iqn.2026-11.org.example:b",
    ];
    let export = place.start(&[&["--null", "1M"], &named[..]].concat());
    for name in ["a", "b", "B"] {
        export.login(name).ready(0, 4).unwrap();
        let found = send_targets(export.address, &Export::options(name)).unwrap();
        assert_eq!(found.len(), 1, "{name}");
    }
    let other = Export::options("c");
    assert_eq!(refusal(export.connect(&other)), FORBIDDEN);
    assert_eq!(send_targets(export.address, &other).unwrap(), []);
    let nowhere = Initiator::connect(export.address, "iqn.x:y", &other);
    assert_eq!(refusal(nowhere), NOT_FOUND);
    drop(export);

    // With CHAP the name is looked at after the proof, and tells nothing before it.
    let export = guarded(&place, &named);
    assert_eq!(
        refusal(export.connect(&options("c", "alice", ANSWER))),
        DENIED
    );
    assert_eq!(
        refusal(export.connect(&options("c", "alice", SECRET))),
        FORBIDDEN
    );
    let found = send_targets(export.address, &options("c", "alice", SECRET));
    assert_eq!(found.unwrap(), []);
    export.connect(&options("a", "alice", SECRET)).unwrap();
}

#[test]
fn a_secret_from_an_inherited_descriptor_is_used() {
    let place = Place::new(Who::Ordinary);
    let file = place.file("in", 0o600, format!("alice {SECRET}\n"));
    for input in [format!("exec 3<{file}"), format!("exec 3< <(cat {file})")] {
        let plain = place.command(&["--null", "1M", "--portal", "127.0.0.1:0", "--chap", "fd:3"]);
        let mut shell = place.command(&[]);
        let words: Vec<_> = std::iter::once(plain.get_program())
            .chain(plain.get_args())
            .collect();
        shell = under_bash(shell, &format!("{input}; exec \"$@\""), &words);
        let export = place.serve(shell);
        assert_eq!(refusal(export.connect(&Export::options("a"))), DENIED);
        export.connect(&options("a", "alice", SECRET)).unwrap();
        export.stop();
    }
    place.refused(
        &["--null", "1M", "--chap", "fd:9"],
        "cannot open the secrets in fd:9",
    );
}

/// `words` as arguments of a bash script, as the user that `like` runs as.
fn under_bash(like: Command, script: &str, words: &[&std::ffi::OsStr]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "bash"]).args(words);
    if let Some(dir) = like.get_current_dir() {
        shell.current_dir(dir);
    }
    if is_root() {
        shell.uid(common::NOBODY).gid(common::NOBODY);
    }
    shell
}

/// The forms in which a secret could show.
fn forms(secret: &str) -> [Vec<u8>; 3] {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let list = secret
        .bytes()
        .map(|byte| byte.to_string())
        .collect::<Vec<_>>();
    [secret.into(), hex.into(), list.join(", ").into()]
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .filter(|window| window == &needle)
        .count()
}

#[test]
fn a_secret_is_in_no_log_argument_or_environment() {
    let place = Place::new(Who::Us);
    let incoming = place.file("in", 0o600, format!("alice {SECRET}\n"));
    let outgoing = place.file("out", 0o600, format!("target {ANSWER}\n"));
    let args = ["--null", "1M", "--portal", "127.0.0.1:0"];
    let mut command = place.command(&args);
    command
        .args(["--chap", &incoming, "--mutual-chap", &outgoing])
        .env("LUNFORGE_LOG", "trace");
    let export = place.serve(command);
    export.connect(&options("a", "alice", SECRET)).unwrap();
    assert_eq!(
        refusal(export.connect(&options("a", "alice", ANSWER))),
        DENIED
    );
    let of_process = |name: &str| fs::read(format!("/proc/{}/{name}", export.child.id()));
    let mut seen = export.said().into_bytes();
    assert!(seen.len() > 1000, "a log at trace level");
    seen.extend(of_process("cmdline").unwrap());
    // Without core dumps the environment is root's to read.
    seen.extend(of_process("environ").unwrap_or_default());
    for needle in forms(SECRET).iter().chain(&forms(ANSWER)) {
        assert_eq!(count(&seen, needle), 0);
    }
    let same = place.refused(
        &[
            "--null",
            "1M",
            "--chap",
            &incoming,
            "--mutual-chap",
            &incoming,
        ],
        "line 1: the target proves itself by the same secret",
    );
    let short = place.file("short", 0o600, format!("alice {}\n", &SECRET[..11]));
    let short = place.refused(&["--null", "1M", "--chap", &short], "at least 12 bytes");
    let open = place.file("open", 0o644, format!("alice {SECRET}\n"));
    let open = place.refused(&["--null", "1M", "--chap", &open], "chmod 600");
    for said in [same, short, open] {
        assert!(
            !said.contains(&SECRET[..11]) && !said.contains("alice"),
            "{said}"
        );
    }
}

/// Ends a serving program by SIGABRT with core dumps allowed by the shell: was one made, and what is in it?
fn dump(more: &[&str]) -> (bool, Option<Vec<u8>>) {
    let place = Place::new(Who::Us);
    let incoming = place.file("in", 0o600, format!("alice {SECRET}\n"));
    let args = [
        "--null",
        "1M",
        "--portal",
        "127.0.0.1:0",
        "--chap",
        &incoming,
    ];
    let plain = place.command(&[&args, more].concat());
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "ulimit -c \"$(ulimit -Hc)\"; exec \"$@\"", "bash"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(place.dir.path());
    let mut export = place.serve(shell);
    export.connect(&options("a", "alice", SECRET)).unwrap();
    assert_eq!(
        refusal(export.connect(&options("a", "alice", ANSWER))),
        DENIED
    );
    export.signal("-ABRT");
    let status = export.wait();
    assert_eq!(status.signal(), Some(6));
    let is_core = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("core")
    };
    let core = fs::read_dir(place.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| is_core(path))
        .map(|path| fs::read(path).unwrap());
    (status.core_dumped(), core)
}

#[test]
fn a_core_is_dumped_only_if_asked_for_and_holds_a_secret_once() {
    let (dumped, core) = dump(&[]);
    assert!(!dumped && core.is_none());
    // Landlock keeps the kernel, too, from making a file for us outside our folders.
    let (dumped, core) = dump(&["--core-dumps", "--confine", "off"]);
    let limit = Command::new("bash")
        .args(["-c", "ulimit -Hc"])
        .output()
        .unwrap();
    if limit.stdout.trim_ascii() == b"0" {
        assert!(!dumped, "the surroundings forbid core dumps");
        return;
    }
    assert!(dumped);
    // Elsewhere (a pipe, another folder) it is not ours to read.
    if let Some(core) = core {
        // The one that CHAP compares with; neither the file's bytes nor what digests went through are left.
        assert_eq!(count(&core, SECRET.as_bytes()), 1);
        assert_eq!(count(&core, format!("alice {SECRET}").as_bytes()), 0);
    }
}

#[test]
fn nobody_of_the_same_user_looks_into_the_process() {
    // Root may look anywhere: only an ordinary user shows the difference.
    let place = Place::new(Who::Ordinary);
    for (more, readable) in [(&[][..], false), (&["--core-dumps"][..], true)] {
        let export = guarded(&place, more);
        let mem = format!("/proc/{}/environ", export.child.id());
        let words = ["cat".as_ref(), mem.as_ref()];
        let mut cat = under_bash(place.command(&[]), "exec \"$@\" >/dev/null 2>&1", &words);
        assert_eq!(cat.status().unwrap().success(), readable, "{more:?}");
    }
}
