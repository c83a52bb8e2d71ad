//! The parts of `docs/` that are made from the code. A test fails when a page is not what the code says;
//! `cargo xtask docs` writes them. All else on a page is written by hand.

mod configuration;
mod errors;

use std::path::PathBuf;

/// Set by `cargo xtask docs`: write instead of compare.
const WRITE: &str = "CAIRN_WRITE_DOCS";

/// A row of a table.
fn row<const N: usize>(cells: [&str; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}

/// A table with these columns.
fn table<const N: usize>(columns: [&str; N], rows: &[[String; N]]) -> String {
    let mut text = row(columns) + &row([(); N].map(|()| "---"));
    for cells in rows {
        text += &row(cells.each_ref().map(String::as_str));
    }
    text
}

/// Puts `generated` between the marks of `part` on a page.
fn replaced(page: &str, part: &str, generated: &str) -> Option<String> {
    let begin = format!("<!-- made from the code: {part} (cargo xtask docs) -->\n");
    let end = format!("<!-- end of {part} -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", generated.trim()))
}

/// Compares a page of `docs/` with what the code says, or writes it.
fn check(name: &str, parts: &[(&str, String)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let there = std::fs::read_to_string(&path).expect("the page");
    let mut page = there.clone();
    for (part, generated) in parts {
        page = replaced(&page, part, generated)
            .unwrap_or_else(|| panic!("docs/{name} has no place for {part:?}"));
    }
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, page).expect("write the page");
        return;
    }
    let differs = there.lines().zip(page.lines()).find(|(there, wanted)| there != wanted);
    assert!(
        there == page,
        "docs/{name} is not what the code says: run `cargo xtask docs`. {differs:?}"
    );
}

#[test]
fn only_what_stands_between_the_marks_is_replaced() {
    let page = "a\n<!-- made from the code: x (cargo xtask docs) -->\nold\n<!-- end of x -->\nb\n";
    let new = replaced(page, "x", "new\n").expect("both marks");
    assert_eq!(
        new,
        "a\n<!-- made from the code: x (cargo xtask docs) -->\n\nnew\n\n<!-- end of x -->\nb\n"
    );
    assert_eq!(replaced(&new, "x", "new"), Some(new.clone()));
    assert_eq!(replaced(page, "y", "new"), None);
}
