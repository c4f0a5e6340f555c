//! The text behind `-attributes`.

use crate::tree::Attributes;

/// Reads `a=1,b,c=x y`: pairs between commas, where a name alone stands for 1. A comma that belongs to a value has a
/// backslash before it. `IncomingUser joe secret`, as the agents of ClusterLabs write it, is a name and a value too.
pub(super) fn parse(text: &str) -> Attributes {
    let mut attributes = Attributes::new();
    for part in split(text) {
        let (name, value) = pair(&part);
        if !name.is_empty() {
            attributes
                .entry(name.to_owned())
                .or_default()
                .push(value.to_owned());
        }
    }
    attributes
}

fn pair(part: &str) -> (&str, &str) {
    let part = part.trim();
    let equals = part.split_once('=');
    // A blank in the name: there is none, the blank is what separates.
    let equals = equals.filter(|(name, _)| !name.trim().contains(char::is_whitespace));
    let (name, value) = equals
        .or_else(|| part.split_once(char::is_whitespace))
        .unwrap_or((part, "1"));
    (name.trim(), unquoted(value.trim()))
}

/// Quotes that a shell left around a value are not part of it.
fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        let taken = match c {
            ',' => {
                parts.push(String::new());
                continue;
            }
            '\\' => match characters.next() {
                Some(',') => ",".to_owned(),
                Some(other) => format!("\\{other}"),
                None => "\\".to_owned(),
            },
            c => c.to_string(),
        };
        if let Some(last) = parts.last_mut() {
            last.push_str(&taken);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, Vec<String>)> {
        parse(text).into_iter().collect()
    }

    fn is(name: &str, values: &[&str]) -> (String, Vec<String>) {
        (
            name.to_owned(),
            values.iter().map(|v| (*v).to_owned()).collect(),
        )
    }

    #[test]
    fn pairs_stand_between_commas_and_a_name_alone_is_1() {
        assert_eq!(
            pairs("filename=/dev/vg1/lun1,write_through=1,read_only"),
            [
                is("filename", &["/dev/vg1/lun1"]),
                is("read_only", &["1"]),
                is("write_through", &["1"]),
            ]
        );
        assert!(pairs("").is_empty());
        assert_eq!(pairs("a=,b=x=y"), [is("a", &[""]), is("b", &["x=y"])]);
    }

    #[test]
    fn a_user_and_a_secret_are_one_value_with_or_without_an_equals_sign() {
        let user = [is("IncomingUser", &["joe a-secret=12"])];
        assert_eq!(pairs("IncomingUser joe a-secret=12"), user);
        assert_eq!(pairs("IncomingUser=joe a-secret=12"), user);
        assert_eq!(pairs("IncomingUser=\"joe a-secret=12\""), user);
    }

    #[test]
    fn a_comma_with_a_backslash_belongs_to_the_value() {
        assert_eq!(
            pairs(r"cpu_mask=ff\,ff,a"),
            [is("a", &["1"]), is("cpu_mask", &["ff,ff"])]
        );
    }

    #[test]
    fn a_name_given_twice_has_both_values() {
        assert_eq!(pairs("a=1,a=2"), [is("a", &["1", "2"])]);
    }
}
