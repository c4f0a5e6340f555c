//! `--timeouts`: a ladder by its name or by its rungs.

use std::str::FromStr;
use std::time::Duration;

use lunforge::Ladder;

/// A ladder that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts(pub(crate) Ladder);

impl FromStr for Timeouts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ladder = match text {
            "linux" => Ladder::linux(),
            "windows" => Ladder::windows(),
            "esxi" => Ladder::esxi(),
            rungs => parse(rungs).ok_or(
                "expected linux, windows, esxi or BACKEND,HOLD,ABORT,REPLACEMENT in seconds",
            )?,
        };
        match ladder.check() {
            Ok(()) => Ok(Self(ladder)),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn parse(text: &str) -> Option<Ladder> {
    let seconds = |rung: &str| rung.parse::<u32>().ok();
    let rungs: Vec<_> = text.split(',').map(seconds).collect::<Option<_>>()?;
    let [backend, hold, abort, replacement] = <[u32; 4]>::try_from(rungs)
        .ok()?
        .map(|rung| Duration::from_secs(rung.into()));
    Some(Ladder {
        backend,
        hold,
        abort,
        replacement,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_have_names_or_four_rungs() {
        let parse = |text: &str| text.parse::<Timeouts>().map(|timeouts| timeouts.0);
        assert_eq!(parse("esxi"), Ok(Ladder::esxi()));
        assert_eq!(parse("10,15,30,120"), Ok(Ladder::linux()));
        for wrong in ["", "bsd", "1,2,3", "1,2,3,4,5", "1,2,-3,4", "1.5,3,9,10"] {
            assert!(parse(wrong).unwrap_err().starts_with("expected"), "{wrong}");
        }
        assert!(parse("15,10,30,120").unwrap_err().contains("hold time"));
    }
}
