//! The control socket. Takes arbitrary bytes and asserts what holds for any input.

use lunforge_daemon::control::line::MAX_CONFIG_LINE;
use lunforge_daemon::control::protocol::{Answer, Code, Request, VERSION};

/// Reads the bytes as lines, each of them as a request and as an answer. What is read is written and read again as the
/// same; what is not is told in a short sentence.
pub fn control(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        request(line);
        if let Ok(answer) = serde_json::from_slice::<Answer>(line) {
            let written = serde_json::to_vec(&answer).expect("an answer that can be written");
            let again: Answer = serde_json::from_slice(&written).expect("what was written");
            // Numbers with a fraction need not come back to the last bit.
            assert_eq!((again.id, again.error), (answer.id, answer.error));
        }
    }
}

fn request(line: &[u8]) {
    match Request::parse(line) {
        Ok(request) => {
            assert_eq!(request.v, VERSION);
            assert!(line.len() <= MAX_CONFIG_LINE);
            let written = serde_json::to_vec(&request).expect("a request that can be written");
            assert!(!written.contains(&b'\n'), "it takes one line");
            assert_eq!(Request::parse(&written), Ok(request));
        }
        Err(malformed) => {
            assert_eq!(malformed.error.code, Code::Request);
            let said = malformed.error.message;
            assert!(!said.is_empty() && said.chars().count() <= 400, "{said}");
        }
    }
}
