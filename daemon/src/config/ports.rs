//! Identifiers of ports that were found, put into the text of a configuration that does not have them.

use std::ops::Range;

use crate::conf::{self, Statement, Word};
use crate::manage::Model;
use crate::schema::REL_TGT_ID;
use crate::tree::Path;

/// `text` with the `rel_tgt_id` of each target that has one in `model` and none in the text, and as it was otherwise.
/// `None` where nothing is missing, and for a text that is no configuration or one of before SCST 2.0.
pub fn with_ports(text: &str, model: &Model) -> Option<String> {
    let document = conf::parse(text).ok()?;
    let mut edits = Vec::new();
    for driver in sections(document.statements(), "TARGET_DRIVER") {
        for target in sections(driver.statements(), "TARGET") {
            edits.extend(edit(text, driver, target, model));
        }
    }
    if edits.is_empty() {
        return None;
    }
    let mut text = text.to_owned();
    edits.sort_by_key(|(place, _)| place.start);
    // From the end on, so that places before stay what they are.
    for (place, written) in edits.into_iter().rev() {
        text.replace_range(place, &written);
    }
    Some(text)
}

fn sections<'a>(
    statements: impl Iterator<Item = &'a Statement>,
    keyword: &str,
) -> impl Iterator<Item = &'a Statement> {
    statements.filter(move |statement| *statement.keyword == *keyword)
}

/// What to write where.
type Edit = (Range<usize>, String);

fn edit(text: &str, driver: &Statement, target: &Statement, model: &Model) -> Option<Edit> {
    let name = target.arguments.first()?;
    let path = Path::target(driver.arguments.first()?, name).ok()?;
    let port = model.tree().get(&path)?.first(REL_TGT_ID)?;
    if let Some(given) = sections(target.statements(), REL_TGT_ID).next() {
        let value = given.arguments.first()?;
        let is_none = value.parse() == Ok(0_u16);
        return is_none.then(|| Some((place(text, value)?, port.to_owned())))?;
    }
    let last = place(text, target.arguments.last()?)?;
    let head = text.get(..last.end)?;
    let indent = indent(head.rsplit('\n').next()?);
    if target.body.is_none() {
        let body = format!(" {{\n{indent}\t{REL_TGT_ID} {port}\n{indent}}}");
        return Some((last.end..last.end, body));
    }
    let open = last.end + text.get(last.end..)?.find('{')? + 1;
    let rest = text.get(open..)?.split('\n').next()?;
    let first = target.statements().next().and_then(|statement| {
        let first = place(text, &statement.keyword)?;
        text.get(..first.start)?.rsplit('\n').next()
    });
    let inner = first.filter(|before| before.trim().is_empty());
    let inner = inner.map_or_else(|| format!("{indent}\t"), str::to_owned);
    let mut line = format!("\n{inner}{REL_TGT_ID} {port}");
    if !rest.trim().is_empty() {
        line.push_str(&format!("\n{inner}"));
    }
    Some((open..open, line))
}

/// Where a word stands; `None` for one that was not read from the text as it is.
fn place(text: &str, word: &Word) -> Option<Range<usize>> {
    let (start, end) = (word.span.start, word.span.end);
    let place = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    let written = text.get(place.clone())?;
    (word.span.line > 0 && written.contains(word.text.as_str())).then_some(place)
}

fn indent(line: &str) -> &str {
    let end = line.len() - line.trim_start().len();
    line.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::control::protocol::Mode;
    use crate::manage::{Change, plan};
    use crate::tree::{Kind, Tree};

    /// The model that a text leads to, and 7 as the identifier of each target of iSCSI without one.
    fn model(text: &str) -> Model {
        let mut model = Model::new();
        let tree = load(text, &Tree::default()).unwrap();
        for change in plan(&model, &tree, Mode::Replace).changes {
            model.apply(&change).unwrap();
        }
        let mut targets = Vec::new();
        model.tree().walk(|path, object| {
            let found = path.kind() == Kind::Target && path.name_of(Kind::Driver) == Some("iscsi");
            if found && object.first(REL_TGT_ID).is_none() {
                targets.push(path.clone());
            }
        });
        for path in targets {
            let (attribute, values) = (REL_TGT_ID.to_owned(), vec!["7".to_owned()]);
            let change = Change::Set {
                path,
                attribute,
                values,
            };
            model.apply(&change).unwrap();
        }
        model
    }

    #[test]
    fn what_is_missing_is_written_and_the_rest_stays_as_it_was() {
        let cases = [
            (
                "TARGET t {\n    enabled 1 # on\n  }",
                "TARGET t {\n    rel_tgt_id 7\n    enabled 1 # on\n  }",
            ),
            (
                "TARGET t { enabled 1 }",
                "TARGET t {\n  \trel_tgt_id 7\n  \t enabled 1 }",
            ),
            (
                "TARGET t { # {\n }",
                "TARGET t {\n  \trel_tgt_id 7\n  \t # {\n }",
            ),
            ("TARGET t {}", "TARGET t {\n  \trel_tgt_id 7\n  \t}"),
            ("TARGET t # {", "TARGET t {\n  \trel_tgt_id 7\n  } # {"),
            (
                "TARGET \"t\" {\n enabled 1\n rel_tgt_id 0\n}",
                "TARGET \"t\" {\n enabled 1\n rel_tgt_id 7\n}",
            ),
            (
                "TARGET a {\n}\n  TARGET b { rel_tgt_id 3 }",
                "TARGET a {\n  \trel_tgt_id 7\n}\n  TARGET b { rel_tgt_id 3 }",
            ),
        ];
        for (before, after) in cases {
            let file = |target: &str| format!("# {{ ä\nTARGET_DRIVER iscsi {{\n  {target}\n}}\n");
            let (before, after) = (file(before), file(after));
            let model = model(&before);
            assert_eq!(with_ports(&before, &model).as_deref(), Some(&*after));
            let nothing = Tree::default();
            let mut tree = load(&after, &nothing).unwrap();
            assert_eq!(with_ports(&after, &model), None, "{after}");
            let left = plan(&model, &std::mem::take(&mut tree), Mode::Replace);
            assert_eq!(left.changes, [], "{after}");
        }
    }

    #[test]
    fn a_text_in_which_nothing_is_missing_is_not_touched() {
        let text = "TARGET_DRIVER iscsi { TARGET t { rel_tgt_id 3 } }";
        assert_eq!(with_ports(text, &model(text)), None);
        assert_eq!(with_ports("TARGET_DRIVER {", &Model::new()), None);
        assert_eq!(with_ports("", &model(text)), None);
    }
}
