//! As much JSON output as results need.

/// An object under construction.
#[derive(Debug, Clone, Default)]
pub struct Object(String);

impl Object {
    /// An empty object.
    pub fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str) -> &mut String {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        quote(key, &mut self.0);
        self.0.push(':');
        &mut self.0
    }

    /// Adds an integer.
    pub fn int(&mut self, key: &str, value: u64) -> &mut Self {
        let text = value.to_string();
        self.key(key).push_str(&text);
        self
    }

    /// Adds a number; what JSON cannot write becomes null.
    pub fn float(&mut self, key: &str, value: f64) -> &mut Self {
        let text = if value.is_finite() {
            format!("{value:.4}")
        } else {
            "null".into()
        };
        self.key(key).push_str(&text);
        self
    }

    /// Adds true or false.
    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key).push_str(if value { "true" } else { "false" });
        self
    }

    /// Adds a string.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        quote(value, self.key(key));
        self
    }

    /// Adds the members of another object after this one's.
    pub fn extend(&mut self, other: &Self) -> &mut Self {
        if let Some(members) = other.0.strip_prefix('{') {
            self.0.push(if self.0.is_empty() { '{' } else { ',' });
            self.0.push_str(members);
        }
        self
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            f.write_str("{}")
        } else {
            write!(f, "{}}}", self.0)
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_separated_and_text_is_escaped() {
        let mut o = Object::new();
        o.int("a", 1)
            .float("b", f64::NAN)
            .boolean("c", true)
            .text("d", "x\"\\\n");
        assert_eq!(
            o.to_string(),
            r#"{"a":1,"b":null,"c":true,"d":"x\"\\\u000a"}"#
        );
        let mut all = Object::new();
        all.text("e", "").extend(&o).extend(&Object::new());
        assert!(all.to_string().starts_with(r#"{"e":"","a":1,"#));
        assert_eq!(Object::new().to_string(), "{}");
    }
}
