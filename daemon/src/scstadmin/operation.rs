//! The operations: which options each needs, whether the user is asked, and what it does.

mod table;

use super::Scstadmin;
use super::exit::Problem;
use super::options::Options;

pub(super) use table::OPERATIONS;

/// An operation.
pub(super) struct Operation {
    /// Its option.
    pub(super) name: &'static str,
    /// Options that it needs.
    pub(super) needs: &'static [&'static str],
    /// Whether it asks before.
    pub(super) asks: bool,
    /// Whether it is one that changes something by itself.
    pub(super) changes: bool,
    pub(super) run: fn(&mut Scstadmin<'_>) -> Result<(), Problem>,
    /// What it is for.
    pub(super) help: &'static str,
}

/// The operation that the options name; `None` if there is none, or help is asked for.
pub(super) fn of(options: &Options) -> Result<Option<&'static Operation>, Problem> {
    if options.has("h") || options.has("help") {
        return Ok(None);
    }
    let mut named = OPERATIONS
        .iter()
        .filter(|operation| options.has(operation.name));
    let Some(operation) = named.next() else {
        return Ok(None);
    };
    if let Some(other) = named.next() {
        let (one, other) = (operation.name, other.name);
        return Err(Problem::new(
            1,
            format!("-{one} and -{other} are two operations: give one"),
        ));
    }
    let missing: Vec<_> = operation
        .needs
        .iter()
        .filter(|option| !options.has(option))
        .map(|option| format!("-{option}"))
        .collect();
    if !missing.is_empty() {
        let name = operation.name;
        return Err(Problem::new(
            1,
            format!("-{name} needs {}", missing.join(", ")),
        ));
    }
    Ok(Some(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(line: &str) -> Result<Option<&'static str>, String> {
        let options = Options::parse(line.split_whitespace().map(str::to_owned)).unwrap();
        of(&options)
            .map(|found| found.map(|o| o.name))
            .map_err(|problem| problem.message)
    }

    #[test]
    fn an_operation_needs_its_options_and_is_alone() {
        assert_eq!(
            operation("-add_target t -driver iscsi"),
            Ok(Some("add_target"))
        );
        assert_eq!(
            operation("-add_target t").unwrap_err(),
            "-add_target needs -driver"
        );
        assert_eq!(
            operation("-open_dev d -handler h -set_scst_attr").unwrap_err(),
            "-set_scst_attr and -open_dev are two operations: give one"
        );
        assert_eq!(
            operation("-clear_config").unwrap_err(),
            "-clear_config needs -force"
        );
        assert_eq!(operation("-noprompt"), Ok(None));
    }

    #[test]
    fn every_operation_is_an_option() {
        for operation in OPERATIONS {
            let line = format!("-{} x", operation.name);
            let words = line.split_whitespace().map(str::to_owned);
            let options = Options::parse(words.clone())
                .or_else(|_| Options::parse(words.take(1)))
                .unwrap();
            assert!(options.has(operation.name));
        }
    }
}
