//! The checks. They read formatted code line by line: rustfmt closes a function where it began.

use super::source::Source;

/// Most lines of a function in production code, from `fn` to its brace.
const FUNCTION_LINES: usize = 70;
/// Most lines of a file.
const FILE_LINES: usize = 700;
/// What is never left in, with what to do instead.
const LEFTOVERS: [(&str, &str); 3] = [
    ("todo!", "do it, or write an issue"),
    ("unimplemented!", "do it, or refuse it with an error"),
    ("dbg!", "use tracing"),
];

/// Something over a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What stays the same while it is shortened: path and name.
    pub(crate) what: String,
    /// How much of it there is.
    pub(crate) measure: usize,
    /// What to do.
    pub(crate) advice: String,
}

/// All findings of a file.
pub(crate) fn findings(source: &Source) -> Vec<Finding> {
    let mut found = long_functions(source);
    found.extend(long_file(source));
    found.extend(leftovers(source));
    found.extend(glob_imports(source));
    found
}

fn long_file(source: &Source) -> Option<Finding> {
    let measure = source.lines.len();
    (measure > FILE_LINES).then(|| Finding {
        what: source.path.clone(),
        measure,
        advice: format!("more than {FILE_LINES} lines: split it by what its parts are"),
    })
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name behind `fn`, when a function begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let code = line.trim_start();
    if code.starts_with("//") {
        return None;
    }
    let (before, after) = code.split_once("fn ")?;
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    let plain = before.split_whitespace();
    if !plain.clone().all(|word| qualifiers.contains(&word)) {
        return None;
    }
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    (end > 0).then(|| &after[..end])
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let production = &source.lines[..source.tests_from];
    let mut found = Vec::new();
    for (at, line) in production.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let closed = |line: &String| line.trim() == "}" && indent(line) == indent(&production[at]);
        let semicolon =
            |line: &String| line.ends_with(';') && indent(line) == indent(&production[at]);
        let rest = &production[at..];
        let end = rest.iter().position(|line| closed(line) || semicolon(line));
        let measure = end.map_or(1, |end| end + 1);
        if measure > FUNCTION_LINES {
            found.push(Finding {
                what: format!("{} fn {name}", source.path),
                measure,
                advice: format!("more than {FUNCTION_LINES} lines: name its steps"),
            });
        }
    }
    found
}

fn leftovers(source: &Source) -> Vec<Finding> {
    // Put together here, so that this file does not find itself.
    let calls = |line: &&String, word: &str| line.contains(&format!("{word}("));
    let count = |word: &str| source.lines.iter().filter(|line| calls(line, word)).count();
    LEFTOVERS
        .iter()
        .filter_map(|(word, advice)| {
            let measure = count(word);
            (measure > 0).then(|| Finding {
                what: format!("{} {word}", source.path),
                measure,
                advice: (*advice).to_owned(),
            })
        })
        .collect()
}

fn glob_imports(source: &Source) -> Option<Finding> {
    let production = source.lines[..source.tests_from].iter();
    let globs = production.filter(|line| line.trim() == "use super::*;");
    let measure = globs.count();
    (measure > 0).then(|| Finding {
        what: format!("{} use super::*", source.path),
        measure,
        advice: "import by name, so that a reader sees where it comes from".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        let body = "    step();\n".repeat(lines - 2);
        format!("pub(crate) async fn work<T>(input: T) {{\n{body}}}\n")
    }

    fn found(path: &str, text: &str) -> Vec<(String, usize)> {
        let findings = findings(&Source::new(path, text)).into_iter();
        findings.map(|of| (of.what, of.measure)).collect()
    }

    #[test]
    fn a_function_may_have_seventy_lines() {
        assert_eq!(found("a/src/b.rs", &function(70)), []);
        let long = [("a/src/b.rs fn work".to_owned(), 71)];
        assert_eq!(found("a/src/b.rs", &function(71)), long);
    }

    #[test]
    fn a_test_may_be_longer() {
        let text = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(80));
        assert_eq!(found("a/src/b.rs", &text), []);
        assert_eq!(found("a/tests/b.rs", &function(80)), []);
    }

    #[test]
    fn leftovers_are_found_wherever_they_are() {
        let text = format!("fn work() {{\n    {}!()\n}}\n", "todo");
        let expected = [("a/tests/b.rs todo!".to_owned(), 1)];
        assert_eq!(found("a/tests/b.rs", &text), expected);
    }

    #[test]
    fn names_are_read_from_signatures_alone() {
        assert_eq!(function_name("    pub const fn new() -> Self {"), Some("new"));
        assert_eq!(function_name("    work: impl Fn(u8) -> u8,"), None);
        assert_eq!(function_name("    run: fn(&[&str]) -> u8,"), None);
        assert_eq!(function_name("// fn old() {"), None);
    }
}
