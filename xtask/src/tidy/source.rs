//! The Rust files of the workspace, each with the line where its tests begin.

use std::fs;
use std::path::Path;

/// A file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) lines: Vec<String>,
    /// Lines before this one are production code.
    pub(crate) tests_from: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let is_test = |line: &String| line.starts_with("#[cfg(test)]") || line == "#[test]";
        let tests_from = if path.contains("tests/") {
            0
        } else {
            let first = lines.iter().position(is_test);
            first.unwrap_or(lines.len())
        };
        Self { path: path.to_owned(), lines, tests_from }
    }
}

/// Everything that is not ours to tidy.
fn is_skipped(name: &str) -> bool {
    name == "target" || name.starts_with('.')
}

/// Reads all files below `root`, in order of their paths.
pub(crate) fn read_all(root: &Path) -> Result<Vec<Source>, String> {
    let (mut sources, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let broken = |error| format!("read {}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(broken)? {
            let path = entry.map_err(broken)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !is_skipped(&name) {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).map_err(broken)?;
                let inside = path.strip_prefix(root).unwrap_or(&path);
                let shown = inside.to_string_lossy().replace('\\', "/");
                sources.push(Source::new(&shown, &text));
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}
