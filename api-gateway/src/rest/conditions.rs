//! Conditional requests (RFC 9110, section 13).

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use cairn_core::object::{ObjectInfo, WriteCondition};
use http::HeaderMap;
use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use super::file::modified;
use super::problem::Problem;

/// The entity tags of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// Each tag without quotes, and whether it is weak.
    List(Vec<(String, bool)>),
}

/// A field, of all its lines (RFC 9110, section 5.3).
pub(super) fn text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<Cow<'a, str>>, Problem> {
    let mut lines = headers.get_all(name).into_iter().map(|line| {
        line.to_str().map_err(|_| Problem::bad_request(format!("{name}: not readable")))
    });
    let Some(first) = lines.next() else { return Ok(None) };
    lines
        .try_fold(Cow::Borrowed(first?), |all, line| Ok(format!("{all}, {}", line?).into()))
        .map(Some)
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let Some(field) = text(headers, name)? else { return Ok(None) };
    if field.trim() == "*" {
        return Ok(Some(Tags::Any));
    }
    let wrong = || {
        Problem::bad_request(format!("{name}: use * or entity tags in double quotes, as in ETag"))
    };
    let mut list = Vec::new();
    let mut rest = field.trim();
    while !rest.is_empty() {
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) =
            quoted.strip_prefix('"').and_then(|tag| tag.split_once('"')).ok_or_else(wrong)?;
        list.push((tag.to_owned(), weak));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(wrong()),
        };
    }
    Ok(Some(Tags::List(list)))
}

/// A date; one that is not an HTTP date is as if it were not there (RFC 9110, section 13.1.3).
fn date(headers: &HeaderMap, name: &HeaderName) -> Result<Option<SystemTime>, Problem> {
    Ok(text(headers, name)?.and_then(|text| httpdate::parse_http_date(&text).ok()))
}

/// The conditions of a request that changes something.
pub(super) fn write_condition(headers: &HeaderMap) -> Result<WriteCondition, Problem> {
    let mut condition = WriteCondition::default();
    match tags(headers, &IF_MATCH)? {
        None => {
            let since = date(headers, &IF_UNMODIFIED_SINCE)?;
            let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
            condition.if_unmodified_since_ms =
                since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        }
        Some(Tags::Any) => condition.must_exist = true,
        // If-Match compares strongly: a weak tag never matches.
        Some(Tags::List(list)) => {
            condition.must_exist = true;
            let strong: Vec<_> =
                list.into_iter().filter(|(_, weak)| !weak).map(|(tag, _)| tag).collect();
            if strong.is_empty() {
                return Err(Problem::precondition("If-Match holds no strong entity tag"));
            }
            condition.if_match = strong;
        }
    }
    match tags(headers, &IF_NONE_MATCH)? {
        None => {}
        Some(Tags::Any) => condition.must_not_exist = true,
        Some(Tags::List(list)) => {
            condition.if_none_match = list.into_iter().map(|(tag, _)| tag).collect();
        }
    }
    Ok(condition)
}

/// What the conditions of a read decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send the file.
    Send,
    /// 304: the client has it.
    NotModified,
}

/// Decides a read (RFC 9110, section 13.2.2).
pub(super) fn read_verdict(headers: &HeaderMap, object: &ObjectInfo) -> Result<Verdict, Problem> {
    let failed = || Problem::precondition("the file has changed since the client read it");
    match tags(headers, &IF_MATCH)? {
        Some(Tags::List(list)) if !list.iter().any(|(tag, weak)| !weak && *tag == object.etag) => {
            return Err(failed());
        }
        Some(_) => {}
        None => {
            if date(headers, &IF_UNMODIFIED_SINCE)?.is_some_and(|since| modified(object) > since) {
                return Err(failed());
            }
        }
    }
    let unchanged = match tags(headers, &IF_NONE_MATCH)? {
        Some(Tags::Any) => true,
        Some(Tags::List(list)) => list.iter().any(|(tag, _)| *tag == object.etag),
        None => date(headers, &IF_MODIFIED_SINCE)?.is_some_and(|since| modified(object) <= since),
    };
    Ok(if unchanged { Verdict::NotModified } else { Verdict::Send })
}

/// Whether a `Range` counts: without `If-Range`, or when that names this very version by its tag. A date never does: two versions may be of
/// one second, which makes it no strong validator (RFC 9110, section 13.1.5).
pub(super) fn range_counts(headers: &HeaderMap, object: &ObjectInfo) -> bool {
    let Ok(Some(field)) = text(headers, &IF_RANGE) else {
        return !headers.contains_key(IF_RANGE);
    };
    field.trim() == format!("\"{}\"", object.etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }

    #[test]
    fn a_field_may_have_several_lines() {
        let mut headers = headers(IF_NONE_MATCH, r#""a""#);
        headers.append(IF_NONE_MATCH, r#""b", "c""#.parse().expect("a header value"));
        let list = ["a", "b", "c"].map(|tag| (tag.to_owned(), false)).to_vec();
        assert_eq!(tags(&headers, &IF_NONE_MATCH), Ok(Some(Tags::List(list))));
    }

    #[test]
    fn tags_are_listed_quoted_and_may_be_weak() {
        let read = |text: &str| tags(&headers(IF_MATCH, text), &IF_MATCH);
        assert_eq!(read("*"), Ok(Some(Tags::Any)));
        let list = Tags::List(vec![("a".to_owned(), false), ("b,c".to_owned(), true)]);
        assert_eq!(read(r#""a", W/"b,c""#), Ok(Some(list)));
        for wrong in ["a", r#""a" "b""#, r#""a"#] {
            assert_eq!(read(wrong).expect_err(wrong).status(), 400);
        }
    }

    #[test]
    fn a_weak_tag_alone_never_permits_a_write() {
        let refused = write_condition(&headers(IF_MATCH, r#"W/"a""#)).expect_err("weak");
        assert_eq!(refused.status(), 412);
    }

    #[test]
    fn a_date_that_is_none_is_ignored() {
        let condition = write_condition(&headers(IF_UNMODIFIED_SINCE, "yesterday"));
        assert_eq!(condition, Ok(WriteCondition::default()));
    }
}
