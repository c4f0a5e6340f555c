//! The deliberate bugs that `bite.sh` has found have to apply to the tree as it is.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn every_deliberate_bug_applies() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = here.join("../..");
    let mut patches = 0;
    for entry in here.join("bugs").read_dir().expect("the bugs") {
        let patch = entry.expect("a bug").path();
        let input = std::fs::File::open(&patch).expect("a patch");
        let applied = Command::new("patch")
            .args([
                "--dry-run",
                "--quiet",
                "--forward",
                "--force",
                "--strip",
                "1",
            ])
            .args(["--reject-file", "-", "--directory"])
            .arg(&tree)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output();
        let output = match applied {
            Ok(output) => output,
            // A machine without patch(1) cannot run the script either.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => panic!("{error}"),
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {said}", patch.display());
        patches += 1;
    }
    assert!(patches >= 5);
}
