//! The list of attributes in the manual is that of the tables.

use std::path::Path;

use lunforge_daemon::manual;

#[test]
fn the_manual_has_every_attribute_as_the_tables_have_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attributes.md");
    if std::env::var_os("LUNFORGE_WRITE").is_some() {
        std::fs::write(&path, manual::markdown()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == manual::markdown(),
        "docs/attributes.md is old: run this test with LUNFORGE_WRITE=1"
    );
}
