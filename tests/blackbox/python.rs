//! A client that shares nothing with us but `proto/`: the one of `docs/examples/`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Client, Up, hex};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Python, with the modules that `.ci/run` keeps in `target/python` when they are there.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", workspace().join("target/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// True when the modules are there. A missing tool is said loudly, and fails where it is required.
fn available() -> bool {
    let asked = python().args(["-c", "import grpc, grpc_tools"]).output();
    let available = asked.is_ok_and(|asked| asked.status.success());
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|tool| tool == "python-grpc");
    assert!(
        available || !required,
        "python3 with grpcio-tools is required and missing: pip install --target target/python grpcio-tools"
    );
    if !available {
        // Not eprintln: the test runner keeps back what that writes. An error means that nobody reads.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no python3 with grpcio-tools (pip install --target target/python grpcio-tools)"
        );
    }
    available
}

#[tokio::test]
async fn a_python_client_made_from_the_protos_puts_and_gets() {
    if !available() {
        return;
    }
    let up = Up::plan().chunk_size(1 << 20).start().await;
    let generated = tempfile::tempdir().expect("a folder");
    let mut command = python();
    command
        .arg(workspace().join("tests/python/check.py"))
        .arg(workspace().join("proto/proto"))
        .arg(generated.path())
        .arg(up.edge.gateway.to_string());
    let ran = tokio::task::spawn_blocking(move || command.output());
    let ran = ran.await.expect("joined").expect("python3 runs");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{stderr}");

    let (length, sha256) = up
        .edge
        .rest()
        .get("default", "python/kept", 0, 0)
        .await
        .expect("what Python stored is there");
    let stdout = String::from_utf8_lossy(&ran.stdout);
    let said = format!("{length} {}", hex(&sha256));
    assert!(stdout.contains(&said), "{stdout:?} does not say {said:?}");
}
