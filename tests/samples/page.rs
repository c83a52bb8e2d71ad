//! A page of the documentation, and the shell on it.

use std::fs;
use std::path::Path;

/// What a comment before a block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    NotRun(String),
    Services,
    Needs(String),
    Files(Vec<String>),
}

/// A command, and what it is to say; nothing, when the page does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) says: Option<Vec<String>>,
}

/// A fenced block of shell.
#[derive(Debug)]
pub(crate) struct Block {
    /// Where it begins.
    pub(crate) line: usize,
    pub(crate) marks: Vec<Mark>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) blocks: Vec<Block>,
}

impl Page {
    pub(crate) fn read(workspace: &Path, name: &str) -> Self {
        let text = fs::read_to_string(workspace.join(name));
        Self::parse(&text.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    fn parse(text: &str) -> Self {
        let mut blocks = Vec::new();
        let mut marks = Vec::new();
        let mut lines = (1..).zip(text.lines());
        while let Some((line, text)) = lines.next() {
            if let Some(language) = text.strip_prefix("```") {
                let inner = lines.by_ref().map(|(_, text)| text);
                let inner: Vec<_> = inner.take_while(|text| *text != "```").collect();
                let marks = std::mem::take(&mut marks);
                let steps = match language {
                    "sh" => script(&inner),
                    "console" => dialogue(&inner),
                    _ => continue,
                };
                blocks.push(Block { line, marks, steps });
            } else if let Some(mark) = mark(text) {
                marks.push(mark);
            } else if !text.trim().is_empty() {
                marks.clear();
            }
        }
        Self { blocks }
    }
}

fn mark(text: &str) -> Option<Mark> {
    let inner = text.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    match inner.split_once(": ") {
        None if inner == "services" => Some(Mark::Services),
        Some(("not run", reason)) => Some(Mark::NotRun(reason.to_owned())),
        Some(("needs", need)) => Some(Mark::Needs(need.to_owned())),
        Some(("files", names)) => {
            Some(Mark::Files(names.split_whitespace().map(str::to_owned).collect()))
        }
        _ => None,
    }
}

/// Commands, one a line; a line that ends with a backslash goes on.
fn script(lines: &[&str]) -> Vec<Step> {
    let joined = lines.join("\n").replace("\\\n", " ");
    let commands = joined.lines().map(str::trim);
    let commands = commands.filter(|line| !line.is_empty() && !line.starts_with('#'));
    commands.map(|command| Step { command: command.to_owned(), says: None }).collect()
}

/// Commands behind `$`, and what they say.
fn dialogue(lines: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), says: Some(Vec::new()) });
            }
            (None, Some(Step { says: Some(says), .. })) => says.push((*line).to_owned()),
            (None, _) => panic!("{line:?} comes before the first command"),
        }
    }
    steps
}

/// True when `said` is what the page shows; `…` stands for anything within a line.
pub(crate) fn is_as_shown(shown: &str, said: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn blocks_have_their_marks_and_steps() {
    let text = "\
# A page
<!-- not run: no docker -->
```sh
docker ps
```
text
```console
$ cairn ls
a …
b
$ echo $?
0
```
```toml
a = 1
```
<!-- files: a.txt b.txt -->
<!-- services -->

```sh
# a comment
cairn up \\
  --open
```
";
    let blocks = Page::parse(text).blocks;
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[0].marks, [Mark::NotRun("no docker".to_owned())]);
    assert_eq!(blocks[1].line, 7);
    assert!(blocks[1].marks.is_empty());
    let says = |lines: &[&str]| Some(lines.iter().map(ToString::to_string).collect());
    let step = |command: &str, says| Step { command: command.to_owned(), says };
    assert_eq!(
        blocks[1].steps,
        [step("cairn ls", says(&["a …", "b"])), step("echo $?", says(&["0"]))]
    );
    let files = Mark::Files(vec!["a.txt".to_owned(), "b.txt".to_owned()]);
    assert_eq!(blocks[2].marks, [files, Mark::Services]);
    assert_eq!(blocks[2].steps, [step("cairn up    --open", None)]);
}

#[test]
fn what_differs_from_run_to_run_is_left_open() {
    assert!(is_as_shown("a … c", "a b c"));
    assert!(is_as_shown("…", ""));
    assert!(is_as_shown("\"etag\":\"…\",…", "\"etag\":\"x\",\"y\""));
    assert!(!is_as_shown("a … c", "a b d"));
    assert!(!is_as_shown("a", "a b"));
    assert!(!is_as_shown("… b … a", "a b"));
}
