//! Commands are printed as they could be typed, then run in the root of the workspace.

use std::path::Path;
use std::process::Command;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Runs a command with these environment variables.
pub(crate) fn run(environment: &[(&str, &str)], words: &[&str]) -> Result<(), String> {
    let set = environment.iter().map(|(name, value)| format!("{name}='{value}' "));
    let shown = format!("{}{}", set.collect::<String>(), words.join(" "));
    eprintln!("$ {shown}");
    let Some((program, arguments)) = words.split_first() else {
        return Err("no command".to_owned());
    };
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// Runs a line of words.
pub(crate) fn run_line(line: &str) -> Result<(), String> {
    run(&[], &line.split_whitespace().collect::<Vec<_>>())
}
