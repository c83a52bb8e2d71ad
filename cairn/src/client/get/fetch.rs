//! One range of one version, whatever happens to connections.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use http::{HeaderMap, Method};

use crate::client::Client;
use crate::client::error::{Again, ClientError, Kind};
use crate::client::http::{empty, text};
use crate::client::remote::Version;

/// Tries in a row that bring nothing.
const TRIES: u32 = 5;
/// Wait before the second try; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Fetches `range`, and hands its bytes in order to `take`. A connection that breaks is made anew, and the rest asked for.
pub(in crate::client) async fn fetch(
    client: &Client,
    doing: &str,
    version: &Version,
    range: Range<u64>,
    mut take: impl AsyncFnMut(Bytes) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let mut at = range.start;
    let mut in_vain = 0;
    while at < range.end {
        let from = at;
        match attempt(client, doing, version, at..range.end, &mut at, &mut take).await {
            Ok(()) => {}
            // A server that was there may be back soon.
            Err(error) if error.again == Again::No && error.kind != Kind::Unreachable => {
                return Err(error);
            }
            Err(error) => {
                in_vain = if at > from { 1 } else { in_vain + 1 };
                if in_vain >= TRIES {
                    return Err(error);
                }
                client.api.clock.sleep(FIRST_PAUSE * 2_u32.pow(in_vain - 1)).await;
            }
        }
    }
    Ok(())
}

async fn attempt(
    client: &Client,
    doing: &str,
    version: &Version,
    range: Range<u64>,
    at: &mut u64,
    take: &mut impl AsyncFnMut(Bytes) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    let place = client.api.fetches.acquire().await;
    let _place = place.map_err(|error| ClientError::failed(doing, error))?;
    let request = || {
        client
            .api
            .file(Method::GET, &version.key)
            .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1))
            .header(IF_MATCH, format!("\"{}\"", version.etag))
            .body(empty())
    };
    let answer = client.api.ask(doing, true, request).await;
    let answer = answer.map_err(|error| replaced(doing, error))?;
    let (parts, mut body) = answer.into_parts();
    is_what_was_asked(doing, &parts.headers, version, &range)?;
    while *at < range.end {
        let Some(bytes) = client.api.piece(doing, &mut body).await? else {
            let problem = "the answer ended before its time";
            return Err(
                ClientError::new(Kind::Unreachable, doing, problem).worth(Again::IfRepeatable)
            );
        };
        let count = bytes.len() as u64;
        if count > range.end - *at {
            return Err(ClientError::failed(doing, "the answer is longer than was asked for"));
        }
        take(bytes).await?;
        *at += count;
        client.output.passed(count);
    }
    Ok(())
}

fn replaced(doing: &str, error: ClientError) -> ClientError {
    let said = match error.kind {
        Kind::Condition => "the file was replaced while it was fetched",
        Kind::NotFound => "the file was deleted while it was fetched",
        _ => return error,
    };
    let error = error.saying(said);
    if error.kind == Kind::Condition {
        error.advise(format!("run it again for the new version: {doing}"))
    } else {
        error
    }
}

fn is_what_was_asked(
    doing: &str,
    headers: &HeaderMap,
    version: &Version,
    range: &Range<u64>,
) -> Result<(), ClientError> {
    let etag = text(headers, ETAG.as_str()).map(|etag| etag.trim_matches('"'));
    let place = format!("bytes {}-{}/{}", range.start, range.end - 1, version.length);
    let said = text(headers, CONTENT_RANGE.as_str());
    if etag == Some(version.etag.as_str()) && said == Some(place.as_str()) {
        return Ok(());
    }
    let problem = format!("asked for {place} of {}, got {said:?} of {etag:?}", version.etag);
    Err(ClientError::failed(doing, problem).advise("see that --url names a gateway of Cairn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_or_another_place_is_not_taken() {
        let version = crate::client::get::plan::tests::version(10);
        let check = |etag: &str, place: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ETAG, etag.parse().expect("a header"));
            headers.insert(CONTENT_RANGE, place.parse().expect("a header"));
            is_what_was_asked("get a", &headers, &version, &(2..5))
        };
        assert_eq!(check("\"e1\"", "bytes 2-4/10"), Ok(()));
        assert!(check("\"e2\"", "bytes 2-4/10").is_err());
        assert!(check("\"e1\"", "bytes 2-5/10").is_err());
        assert!(is_what_was_asked("get a", &HeaderMap::new(), &version, &(2..5)).is_err());
    }
}
