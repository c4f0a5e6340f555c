//! What holds for any document.

use lunforge_daemon::conf::{Document, Item, Statement, Word, parse, print};
use proptest::prelude::*;

/// Words that look like words of a file, and any text at all.
fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        4 => "[A-Za-z0-9_./:,*?!=+-]{1,24}",
        2 => r##"[ \t"#\\{}\[\]a-c]{0,8}"##,
        1 => any::<String>(),
    ]
    .prop_map(Word::from)
}

fn comment() -> impl Strategy<Value = Item> {
    "[^\\p{Cc}]{0,20}".prop_map(Item::Comment)
}

fn statement(body: impl Strategy<Value = Option<Vec<Item>>>) -> impl Strategy<Value = Item> {
    (word(), prop::collection::vec(word(), 0..4), body).prop_map(|(keyword, arguments, body)| {
        Statement {
            keyword,
            arguments,
            body,
        }
        .into()
    })
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let leaf = prop_oneof![
        1 => comment(),
        1 => Just(Item::Blank),
        4 => statement(Just(None)),
    ];
    let item = leaf.prop_recursive(5, 48, 6, |item| {
        statement(prop::option::of(prop::collection::vec(item, 0..6)))
    });
    prop::collection::vec(item, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_printed_is_read_as_it_was(items in items()) {
        let document = Document { items };
        let text = print(&document);
        let read = parse(&text).map_err(|error| TestCaseError::fail(error.show(&text)))?;
        prop_assert_eq!(&read, &document);
        prop_assert_eq!(print(&read), text);
    }

    #[test]
    fn what_is_printed_is_read_with_other_line_ends_and_blanks(items in items()) {
        let document = Document { items };
        // What is in quotes may hold tabs, but no line feed.
        let text = format!("\u{feff}{}", print(&document).replace('\n', "  \r\n"));
        let comments_trimmed = |document: &Document| print(document).replace("  \n", "\n");
        prop_assert_eq!(comments_trimmed(&parse(&text).unwrap()), print(&document));
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_a_place_in_them(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        refused_inside(&bytes)?;
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_place_in_it(text in r##"([ \t\r\n"#\\{}a]|\[HANDLER |\[GROUP x\]|DEVICE a,b|enabled){0,40}"##) {
        refused_inside(text.as_bytes())?;
    }
}

fn refused_inside(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Err(error) = parse(bytes) {
        let place = error.place();
        prop_assert!(place.line >= 1 && place.column >= 1);
        prop_assert!(place.start as usize <= bytes.len() && place.start <= place.end);
        prop_assert_eq!(error.to_string().lines().count(), 1);
        prop_assert_eq!(error.show("x").lines().count(), 3);
    }
    Ok(())
}

#[test]
fn a_comment_of_two_lines_is_printed_as_two_comments() {
    let document = Document {
        items: vec![Item::Comment("one\ntwo }\u{7}".to_owned())],
    };
    assert_eq!(print(&document), "# one\n# two } \n");
}

#[test]
fn a_control_character_in_a_comment_is_read_as_a_blank() {
    let document = parse("#\u{1}a\u{0}b\tc\n").unwrap();
    assert_eq!(document.items, [Item::Comment(" a b\tc".to_owned())]);
    assert_eq!(parse(print(&document)).unwrap(), document);
}
