//! Tools of others that a test needs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in one").to_owned()
}

/// The tool, when it is there. One that is missing is said loudly, and fails where `CAIRN_REQUIRE` names it.
pub(crate) fn tool(name: &str, mut command: Command, probe: &[&str], how: &str) -> Option<Command> {
    let program = command.get_program().to_owned();
    let asked = command.args(probe).output();
    if asked.is_ok_and(|asked| asked.status.success()) {
        let mut found = Command::new(program);
        for (name, value) in command.get_envs() {
            found.env(name, value.unwrap_or_default());
        }
        return Some(found);
    }
    missing(name, how);
    None
}

/// Says loudly that something is missing, and fails where `CAIRN_REQUIRE` names it.
pub(crate) fn missing(name: &str, how: &str) {
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|required| required == name);
    assert!(!required, "{name} is required and missing: {how}");
    eprintln!("SKIPPED: no {name} ({how})");
}

/// Runs a tool to its end: whether it was content, and what it said.
pub(crate) fn said(command: &mut Command) -> (bool, String) {
    let ran = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let text = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&text).into_owned())
}
