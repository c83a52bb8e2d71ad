//! What fio makes of the same load.

use std::io;
use std::path::Path;
use std::process::Command;

use super::Failure;
use super::load::Load;

/// MB/s of fio, when it is there: files of the same size by as many writers, each synced at its end.
pub(crate) fn run(dir: &Path, load: Load) -> Result<Option<f64>, Failure> {
    let folder = tempfile::tempdir_in(dir)?;
    let Load { count, bytes, writers } = load;
    rustix::fs::sync();
    let output = Command::new("fio")
        .args(["--name=cairn", "--rw=write", "--bs=512k", "--ioengine=psync", "--fallocate=none"])
        .args(["--end_fsync=0", "--fsync_on_close=1", "--create_on_open=1"])
        .args(["--openfiles=1", "--file_service_type=sequential"])
        .args(["--group_reporting", "--output-format=json"])
        .arg(format!("--numjobs={writers}"))
        .arg(format!("--nrfiles={}", count / writers))
        .arg(format!("--filesize={bytes}"))
        .arg(format!("--directory={}", folder.path().display()))
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let job = &report["jobs"][0];
    let bytes = job["write"]["io_bytes"].as_f64().ok_or("fio told no bytes")?;
    let milliseconds = job["job_runtime"].as_f64().ok_or("fio told no time")?;
    // The runtimes of all jobs are added up.
    Ok(Some(bytes / 1e3 / (milliseconds / f64::from(writers))))
}
