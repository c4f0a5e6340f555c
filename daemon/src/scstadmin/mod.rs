//! `scstadmin`: the commands of SCST's administration program, over the control socket.
//!
//! What its users and their scripts see is kept: options, the forms of what is printed, questions, exit codes. A
//! command ends with the code of its first error, a failed `-set_*` too, unless `-cont_on_err` is given: older versions
//! of SCST's program only warned, and a cluster's agent took a change of state for done that was not.

mod attributes;
mod change;
mod config;
mod exit;
mod list;
mod manual;
mod operation;
mod options;
mod table;

use std::io::{self, Write};

use serde::de::DeserializeOwned;

use crate::control::protocol::{Call, Code, Done, Error, Shown};
use crate::control::{Answers, Client, ClientError};
use crate::manage::Change;
use crate::tree::Path;

pub use exit::Problem;
pub use manual::page;
pub use options::{OptionError, Options};

/// Who answers calls: the control socket, or a double.
pub trait Peer {
    /// # Errors
    /// That of the answer, or one that says why there is none.
    fn call(&mut self, call: Call) -> Result<serde_json::Value, Error>;
}

impl Peer for Client {
    fn call(&mut self, call: Call) -> Result<serde_json::Value, Error> {
        Client::call(self, call).map_err(|error| match error {
            ClientError::Refused(error) => error,
            other => Error::new(Code::Request, other.to_string()),
        })
    }
}

/// Within one process, without a socket.
impl<A: Answers> Peer for &A {
    fn call(&mut self, call: Call) -> Result<serde_json::Value, Error> {
        self.answer(call)
    }
}

/// Nobody is there; every call says why.
#[derive(Debug)]
pub struct Unreachable(pub String);

impl Peer for Unreachable {
    fn call(&mut self, _: Call) -> Result<serde_json::Value, Error> {
        Err(Error::new(Code::Request, self.0.clone()))
    }
}

/// Whom the user is asked through.
pub trait Asks {
    /// Whether the user says yes to a question. Whoever cannot be asked says no.
    fn ask(&mut self, question: &str) -> bool;
}

/// A command under way.
pub struct Scstadmin<'a> {
    peer: &'a mut dyn Peer,
    out: &'a mut dyn Write,
    asks: &'a mut dyn Asks,
    options: Options,
    /// How many changes were made.
    made: usize,
}

/// Whoever reads no longer does not want to know.
macro_rules! say {
    ($to:expr, $($text:tt)*) => {
        let _ = write!($to.out, $($text)*);
    };
}
pub(crate) use say;

/// Does what the command line says, and returns the exit code.
pub fn run(
    options: Options,
    peer: &mut dyn Peer,
    out: &mut dyn Write,
    err: &mut dyn Write,
    asks: &mut dyn Asks,
) -> u8 {
    let operation = match operation::of(&options) {
        Ok(Some(operation)) => operation,
        Ok(None) => {
            let _ = out.write_all(manual::usage().as_bytes());
            return u8::from(!(options.has("h") || options.has("help")));
        }
        Err(problem) => {
            let _ = writeln!(err, "{problem}");
            return problem.code;
        }
    };
    let mut command = Scstadmin {
        peer,
        out,
        asks,
        options,
        made: 0,
    };
    let done = command.perform(operation);
    let _ = command.out.flush();
    let Err(problem) = done else { return 0 };
    let _ = writeln!(
        err,
        "\nFATAL: Received the following error:\n\n\t{problem}\n"
    );
    problem.code
}

impl Scstadmin<'_> {
    fn perform(&mut self, operation: &operation::Operation) -> Result<(), Problem> {
        self.peer.call(Call::Hello)?;
        say!(self, "\nCollecting current configuration: done.\n\n");
        if operation.asks && !self.may_go_on() {
            say!(self, "Aborted.\n\n");
            return Err(Problem::fatal("nothing was changed"));
        }
        if operation.changes {
            say!(self, "-> Making requested changes.\n");
        }
        (operation.run)(self)?;
        if operation.changes {
            say!(self, "\t-> Done, {} change(s) made.\n", self.made);
        }
        say!(self, "\nAll done.\n");
        Ok(())
    }

    fn may_go_on(&mut self) -> bool {
        self.options.has("noprompt")
            || self.asks.ask(
                "Performing this action may result in lost or corrupt data, are you sure you wish to continue (y/n) ? ",
            )
    }

    /// The answer to a call.
    fn call<T: DeserializeOwned>(&mut self, call: Call) -> Result<T, Error> {
        let answer = self.peer.call(call)?;
        serde_json::from_value(answer).map_err(|error| {
            Error::new(Code::Request, format!("the answer cannot be read: {error}"))
        })
    }

    /// The object at `path`; the problem is that there is none.
    fn show(&mut self, path: &Path) -> Result<Shown, Problem> {
        let shown = self.call(Call::Show { path: path.clone() });
        shown.map_err(|error| exit::problem(path, exit::Deed::Find, &error))
    }

    /// Whether there is an object at `path`.
    fn is_there(&mut self, path: &Path) -> bool {
        self.call::<Shown>(Call::Show { path: path.clone() })
            .is_ok()
    }

    /// Makes changes, all or none; with `-debug` only says which.
    fn make(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        if self.options.has("debug") {
            for change in &changes {
                say!(self, "DBG({}): {change}\n", std::process::id());
            }
            return Ok(());
        }
        self.call::<Done>(Call::Run { changes })?;
        self.made += 1;
        Ok(())
    }

    /// Says what is done, does it, and says how it went.
    fn step(
        &mut self,
        what: std::fmt::Arguments<'_>,
        step: impl FnOnce(&mut Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        say!(self, "\t-> {what}: ");
        let done = step(self);
        match &done {
            Ok(()) => {
                say!(self, "done.\n");
            }
            Err(problem) if self.options.has("cont_on_err") => {
                say!(self, "failed: {problem}.\n");
                return Ok(());
            }
            Err(_) => {
                say!(self, "failed.\n");
            }
        }
        done
    }
}

/// Asks on the terminal: a word that begins with y or n, then Enter.
#[derive(Debug, Default)]
pub struct Terminal;

impl Asks for Terminal {
    fn ask(&mut self, question: &str) -> bool {
        let mut answer = String::new();
        loop {
            eprint!("{question}");
            let _ = io::stderr().flush();
            answer.clear();
            match io::stdin().read_line(&mut answer) {
                Ok(0) | Err(_) => {
                    eprintln!("\nNobody answers: -noprompt does without the question.");
                    return false;
                }
                Ok(_) => {}
            }
            match answer.trim_start().chars().next() {
                Some('y' | 'Y') => return true,
                Some('n' | 'N') => return false,
                _ => {}
            }
        }
    }
}
