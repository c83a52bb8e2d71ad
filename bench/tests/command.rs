//! The program as it is run. That it measures is shown by `cairn-bench --smoke` in `.ci/run`, which needs a built cairn.

use std::process::Command;

#[test]
fn a_server_that_does_not_start_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-bench"));
    command.args(["--smoke", "--cairn", "/bin/false", "--dir"]).arg(folder.path());
    let output = command.output().expect("start cairn-bench");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ended before it served"), "{said}");
}
