use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const SECRET: &str = "Aep9Zee4ohs6iecha";
const OTHER: &str = "thai8Oow0aThoh9qu";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Source {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Source::File(path)
    }
}

fn of(bytes: impl AsRef<[u8]>) -> Result<ChapConfig, SecretsError> {
    chap(&[Files::new().with("f", 0o600, bytes)], None, None)
}

/// The refusal, which never shows a word of the file.
fn refusal(result: Result<ChapConfig, SecretsError>) -> String {
    let error = result.unwrap_err();
    let said = format!("{error} {error:?}");
    for word in [SECRET, OTHER, "alice", "bob"] {
        assert!(!said.contains(word), "{said}");
    }
    error.to_string()
}

#[test]
fn a_line_is_a_name_and_a_secret() {
    let text = format!(
        "# initiators\n\n  alice  {SECRET}\r\n\ttwo words\t{OTHER}\n # {SECRET}\n\"quoted\" $HOME; {SECRET}"
    );
    assert!(of(text).is_ok());
    let entries = entries(
        &Files::new().with("f", 0o400, format!("two words\t {OTHER}\n")),
        None,
    );
    let [only] = &entries.unwrap()[..] else {
        panic!()
    };
    assert_eq!(only.account.user, "two words");
    assert_eq!(only.account.secret.expose(), OTHER.as_bytes());
}

#[test]
fn a_bad_line_is_refused_by_number_and_without_its_words() {
    let good = format!("alice {SECRET}\n");
    for (bad, why) in [
        (SECRET.to_owned(), "a name and a secret"),
        (format!("bob {}", &SECRET[..11]), "at least 12 bytes"),
        (format!("bob {}", SECRET.repeat(16)), "at most 256 bytes"),
        (format!("{} {SECRET}", "b".repeat(256)), "1 to 255"),
        (format!("bo\u{7}b {SECRET}"), "control"),
        (format!("alice {OTHER}"), "line 1, already"),
    ] {
        let said = refusal(of(format!("{good}#\n{bad}\n")));
        assert!(said.contains("line 3: ") && said.contains(why), "{said}");
    }
    let said = refusal(of(
        [good.as_bytes(), b"bob \xff\xfe", SECRET.as_bytes()].concat()
    ));
    assert!(
        said.contains("line 2: ") && said.contains("UTF-8"),
        "{said}"
    );
    for empty in ["", "\n", "# alice\n"] {
        assert!(refusal(of(empty)).contains("no name and secret"));
    }
}

#[test]
fn limits_of_secrets_are_those_of_the_standard() {
    assert!(of(format!("alice {}", &SECRET[..12])).is_ok());
    assert!(of(format!("alice {}", "s".repeat(256))).is_ok());
    assert!(refusal(of(format!("alice {}", "s".repeat(257)))).contains("at most"));
    assert!(refusal(of(vec![b'#'; MAX_LEN + 1])).contains("more than"));
}

#[test]
fn n15_the_same_secret_both_ways_is_refused_with_its_line() {
    let files = Files::new();
    let incoming = files.with("in", 0o600, format!("bob {OTHER}\nalice {SECRET}\n"));
    let same = files.with("same", 0o600, format!("target {SECRET}\n"));
    let several = files.with("several", 0o600, format!("a {SECRET}\nb {OTHER}\n"));
    let refused = |out| refusal(chap(std::slice::from_ref(&incoming), Some(out), None));
    assert!(refused(&same).contains("in, line 2: "));
    assert!(refused(&several).contains("line 2: the target has one"));
    let own = files.with("own", 0o600, "target another-secret-1234\n");
    assert!(chap(&[incoming], Some(&own), None).unwrap().is_mutual());
}

#[test]
fn n57_a_file_that_others_have_access_to_is_refused_with_the_command_that_helps() {
    let files = Files::new();
    let text = format!("alice {SECRET}\n");
    for mode in [0o640, 0o604, 0o660, 0o602, 0o610, 0o644, 0o777] {
        let source = files.with("open", mode, &text);
        let said = refusal(chap(std::slice::from_ref(&source), None, None));
        assert!(said.contains(&format!("chmod 600 {source}")), "{said}");
        assert!(said.contains(&format!("(mode {mode:o})")), "{said}");
    }
    for mode in [0o400, 0o600, 0o700] {
        assert!(chap(&[files.with(&mode.to_string(), mode, &text)], None, None).is_ok());
    }
}

#[test]
fn n57_what_is_no_file_or_another_user_s_is_refused() {
    let files = Files::new();
    let dir = files.0.path();
    assert!(refusal(chap(&[Source::File(dir.into())], None, None)).contains("no regular file"));
    let fifo = dir.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
    assert!(refusal(chap(&[Source::File(fifo)], None, None)).contains("no regular file"));
    let real = files.with("real", 0o600, format!("alice {SECRET}\n"));
    let link = dir.join("link");
    std::os::unix::fs::symlink(real.to_string(), &link).unwrap();
    assert!(chap(&[Source::File(link)], None, None).is_ok());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(real.to_string(), Some(7), None).unwrap();
        let said = refusal(chap(std::slice::from_ref(&real), None, None));
        assert!(
            said.contains("user 7") && said.contains("chown 0"),
            "{said}"
        );
        let user = User::find("7:7").unwrap();
        assert!(chap(&[real], None, Some(&user)).is_ok());
    }
}
