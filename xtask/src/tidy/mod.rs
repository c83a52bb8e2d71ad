//! What the compiler does not check, with a ratchet.
//!
//! `xtask/tidy.allow` names what was over a line when the line was drawn, each with its measure. Whoever makes
//! it longer is told; whoever makes it shorter is told as well, to lower the number. The list does not grow.

mod checks;
mod ratchet;
mod source;

use crate::command::root;

/// Checks all sources of the workspace.
pub(crate) fn check() -> Result<(), String> {
    let sources = source::read_all(root())?;
    let findings: Vec<_> = sources.iter().flat_map(checks::findings).collect();
    let allowed = ratchet::read(&root().join("xtask/tidy.allow"))?;
    let complaints = ratchet::complaints(&findings, &allowed);
    if complaints.is_empty() {
        eprintln!("tidy: {} files", sources.len());
        Ok(())
    } else {
        Err(format!("not tidy:\n{}", complaints.join("\n")))
    }
}

#[test]
fn the_tree_is_tidy() {
    check().unwrap();
}
