//! What was over a line when it was drawn: it may shrink, and the list follows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::checks::Finding;

/// Measure by finding.
pub(crate) type Allowed = BTreeMap<String, usize>;

/// Reads lines of `MEASURE WHAT`.
pub(crate) fn read(path: &Path) -> Result<Allowed, String> {
    let broken = |problem: String| format!("read {}: {problem}", path.display());
    let text = fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
    let lines = text.lines();
    lines
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let parts = line.split_once(' ');
            let read = parts.and_then(|(measure, what)| Some((measure.parse().ok()?, what)));
            let (measure, what) = read.ok_or_else(|| broken(format!("not clear: {line}")))?;
            Ok((what.to_owned(), measure))
        })
        .collect()
}

/// What differs from the list, in either direction.
pub(crate) fn complaints(findings: &[Finding], allowed: &Allowed) -> Vec<String> {
    let mut left = allowed.clone();
    let mut complaints = Vec::new();
    for finding in findings {
        let Finding { what, measure, advice } = finding;
        let allowed = left.remove(what).unwrap_or(0);
        if *measure > allowed {
            complaints.push(format!("{what}: {measure}: {advice}"));
        } else if *measure < allowed {
            complaints.push(format!("{what}: {measure} now: lower it in xtask/tidy.allow"));
        }
    }
    let gone = left.into_keys();
    complaints
        .extend(gone.map(|what| format!("{what}: is fine now: strike it from xtask/tidy.allow")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(measure: usize) -> Finding {
        Finding { what: "a fn b".to_owned(), measure, advice: "shorten it".to_owned() }
    }

    #[test]
    fn the_list_follows_what_shrinks_and_nothing_grows() {
        let allowed: Allowed = [("a fn b".to_owned(), 80)].into();
        assert_eq!(complaints(&[finding(80)], &allowed), [""; 0]);
        for findings in [&[finding(81)][..], &[finding(79)], &[]] {
            assert_eq!(complaints(findings, &allowed).len(), 1, "{findings:?}");
        }
        assert_eq!(complaints(&[finding(71)], &Allowed::new()).len(), 1);
    }
}
