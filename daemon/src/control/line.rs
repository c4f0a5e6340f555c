//! A line that came in: within bounds, and one request of this version, or an error that can be told.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::protocol::{Call, Code, Error, Request, VERSION};

/// Longest line of a request in bytes.
pub const MAX_LINE: usize = 1 << 20;
/// Longest line of a request that holds a configuration.
pub const MAX_CONFIG_LINE: usize = 64 << 20;
/// How long the other fields of such a request may be.
const MAX_FIELD: usize = 4096;
/// No request has so many fields.
const MAX_FIELDS: usize = 16;
/// How much of an error is told: it may quote what came in.
const SHOWN: usize = 400;

/// Why a line is no request, and to which one the answer goes: 0 where that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The request's id.
    pub id: u64,
    /// With [`Code::Request`].
    pub error: Error,
}

impl Malformed {
    fn new(id: u64, message: impl fmt::Display) -> Self {
        let message = message.to_string().chars().take(SHOWN).collect();
        let error = Error::new(Code::Request, message);
        Self { id, error }
    }
}

impl Request {
    /// Reads a line without its end. Memory and time are a small multiple of its length.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let fields: Fields<'_> = serde_json::from_slice(line)
            .map_err(|error| Malformed::new(0, format_args!("this is no request: {error}")))?;
        let id = fields
            .get("id")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Malformed::new(0, "a request has an \"id\", a number"))?;
        match fields.get("v") {
            None => {
                return Err(Malformed::new(id, "a request has the version in \"v\""));
            }
            Some(v) if v.parse() == Ok(VERSION) => {}
            Some(v) => {
                let text = format!("version {VERSION} is spoken here, not {v}");
                return Err(Malformed::new(id, text));
            }
        }
        fields.check_lengths(id, line.len())?;
        let request: Self = serde_json::from_slice(line)
            .map_err(|error| Malformed::new(id, format_args!("this is no request: {error}")))?;
        if request.call.is_plain()
            && let Some(name) = fields.other(&["v", "id", "call"])
        {
            return Err(Malformed::new(id, format_args!("unknown field `{name}`")));
        }
        Ok(request)
    }
}

impl Call {
    /// Whether it has no fields of its own. Serde lets any pass then.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::Sessions
                | Self::Devices
                | Self::Targets
                | Self::Reservations
                | Self::Status
        )
    }
}

/// The fields of an object, not looked into.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let field = self.0.iter().find(|(other, _)| other == name);
        field.map(|(_, value)| value.get())
    }

    fn other(&self, known: &[&str]) -> Option<&str> {
        let names = self.0.iter().map(|(name, _)| name.as_str());
        names.into_iter().find(|name| !known.contains(name))
    }

    /// Only a configuration may be long: what else there is becomes many values, each larger than its text.
    fn check_lengths(&self, id: u64, line: usize) -> Result<(), Malformed> {
        if line <= MAX_LINE {
            return Ok(());
        }
        let takes_config = matches!(self.get("call"), Some(r#""plan""# | r#""apply""#));
        let short = |(name, value): &(String, &RawValue)| {
            let value = value.get();
            value.len() <= MAX_FIELD || (name == "config" && value.starts_with('"'))
        };
        if takes_config && self.0.iter().all(short) {
            return Ok(());
        }
        Err(Malformed::new(
            id,
            format_args!("a line that is no configuration has at most {MAX_LINE} bytes"),
        ))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, _>()? {
                    if fields.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom(format_args!("`{name}` is there twice")));
                    }
                    if fields.len() == MAX_FIELDS {
                        return Err(de::Error::custom("too many fields"));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::Mode;

    fn error(line: &str) -> (u64, String) {
        let malformed = Request::parse(line.as_bytes()).unwrap_err();
        assert_eq!(malformed.error.code, Code::Request);
        (malformed.id, malformed.error.message)
    }

    #[test]
    fn a_request_is_read_whatever_the_order_of_its_fields() {
        let line = br#" {"attribute":"size","call":"get", "path":"devices/a","id":7,"v":1} "#;
        let request = Request::parse(line).unwrap();
        assert_eq!(request.id, 7);
        let path = "devices/a".parse().unwrap();
        let attribute = "size".to_owned();
        assert_eq!(request.call, Call::Get { path, attribute });
    }

    #[test]
    fn what_is_no_request_is_told_with_its_id_where_it_has_one() {
        assert_eq!(error("nonsense").0, 0);
        assert_eq!(error("[1]").0, 0);
        assert!(error(r#"{"v":1,"call":"hello"}"#).1.contains("\"id\""));
        assert!(
            error(r#"{"v":1,"id":-1,"call":"hello"}"#)
                .1
                .contains("\"id\"")
        );
        let (id, said) = error(r#"{"v":2,"id":3,"call":"hello"}"#);
        assert_eq!((id, said.as_str()), (3, "version 1 is spoken here, not 2"));
        let (id, said) = error(r#"{"v":1,"id":4,"call":"dance"}"#);
        assert!(id == 4 && said.contains("dance"), "{said}");
        let (id, said) = error(r#"{"v":1,"id":5,"call":"show","path":"nowhere"}"#);
        assert!(id == 5 && said.contains("nowhere"), "{said}");
        assert!(
            error(r#"{"v":1,"id":6,"id":6,"call":"hello"}"#)
                .1
                .contains("twice")
        );
        assert!(error(r#"{"v":1,"id":6}"#).1.contains("call"));
    }

    #[test]
    fn a_field_that_is_not_known_is_refused_in_every_call() {
        for call in [
            r#""hello""#,
            r#""status""#,
            r#""show","path":"""#,
            r#""print""#,
            r#""run","changes":[]"#,
        ] {
            let (_, said) = error(&format!(r#"{{"v":1,"id":1,"more":2,"call":{call}}}"#));
            assert!(said.contains("unknown field `more`"), "{call}: {said}");
        }
    }

    #[test]
    fn only_a_configuration_may_be_long() {
        let long = "x".repeat(MAX_LINE);
        let line = format!(r#"{{"v":1,"id":1,"call":"apply","mode":"replace","config":"{long}"}}"#);
        let request = Request::parse(line.as_bytes()).unwrap();
        let (config, save) = (long.clone(), false);
        let mode = Mode::Replace;
        assert_eq!(request.call, Call::Apply { config, mode, save });
        for wrong in [
            format!(r#"{{"v":1,"id":9,"call":"show","path":"{long}"}}"#),
            format!(r#"{{"v":1,"id":9,"call":"plan","mode":"{long}","config":""}}"#),
            format!(
                r#"{{"v":1,"id":9,"call":"plan","config":[{}0]}}"#,
                "0,".repeat(MAX_LINE / 2)
            ),
        ] {
            let (id, said) = error(&wrong);
            assert!(id == 9 && said.contains("at most"), "{said}");
        }
    }

    #[test]
    fn what_is_told_of_a_wrong_line_is_short() {
        let line = format!(r#"{{"v":1,"id":1,"call":"{}"}}"#, "y".repeat(10_000));
        assert!(error(&line).1.len() < 500);
    }
}
