//! The lane as whoever writes to the port sees it: what is wrong is refused by its name and leaves nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::{BufMut, Bytes, BytesMut};
use cairn_chain::conformance::content;
use cairn_core::digest::block_crc;
use cairn_proto::v1::WriteFinish;
use cairn_proto::{Reason, RemoteError};
use cairn_transport::lane::{self, Event, Frames, MEDIA_TYPE};
use http::{Method, Request, StatusCode};
use tower::ServiceExt;

use crate::harness::{Harness, chunk};

async fn call(
    node: &Harness,
    method: Method,
    path: &str,
    body: Bytes,
) -> (StatusCode, Option<Event>) {
    let request =
        Request::builder().method(method).uri(path).body(axum::body::Body::from(body)).unwrap();
    let answer = node.routes().oneshot(request).await.unwrap();
    let status = answer.status();
    if answer.headers().get("content-type").is_none_or(|kind| kind != MEDIA_TYPE) {
        return (status, None);
    }
    (status, Frames::new(answer.into_body()).next().await.unwrap())
}

fn reason(event: Option<Event>) -> Reason {
    match event {
        Some(Event::Refusal(refusal)) => RemoteError::from(refusal).reason,
        other => panic!("{other:?} is no refusal"),
    }
}

fn body(parts: &[&[u8]]) -> Bytes {
    let mut body = BytesMut::new();
    parts.iter().for_each(|part| body.put_slice(part));
    body.freeze()
}

#[tokio::test]
async fn a_wrong_write_is_refused_by_its_name_and_nothing_is_stored() {
    let node = Harness::new(|_| {}).await;
    let bytes = content(1000, 1);
    let data = lane::data(1000, vec![]);
    let hash = Bytes::copy_from_slice(&cairn_chain::conformance::hash(&bytes).0);
    let last_block_crc = Some(block_crc(chunk(0), 0, &bytes));
    let end = WriteFinish { length: 1000, hash, last_block_crc };
    let finish = lane::finish(end.clone());
    let whole = body(&[&data, &bytes, &finish]);
    let path = format!("/chunks/{}?reserve=1000", chunk(0));
    let of = |id: &str, query: &str| format!("/chunks/{id}{query}");
    let id = chunk(0).to_string();
    for (what, path, body, status, expected) in [
        ("no id", of("x", "?reserve=1000"), whole.clone(), 400, Reason::InvalidField),
        ("no reserve", of(&id, ""), whole.clone(), 400, Reason::InvalidField),
        (
            "a reserve that is none",
            of(&id, "?reserve=-1"),
            whole.clone(),
            400,
            Reason::InvalidField,
        ),
        ("too large a reserve", of(&id, "?reserve=67108864"), whole.clone(), 507, Reason::NodeFull),
        ("too small a reserve", of(&id, "?reserve=999"), whole.clone(), 400, Reason::BodyMismatch),
        ("nothing", path.clone(), Bytes::new(), 400, Reason::BodyMismatch),
        ("no frames", path.clone(), content(100, 1), 400, Reason::InvalidField),
        ("no finish", path.clone(), body(&[&data, &bytes]), 400, Reason::BodyMismatch),
        ("half a frame", path.clone(), body(&[&data, &bytes[..500]]), 400, Reason::BodyMismatch),
        (
            "a wrong hash",
            path.clone(),
            body(&[
                &data,
                &bytes,
                &lane::finish(WriteFinish { hash: Bytes::new(), ..end.clone() }),
            ]),
            400,
            Reason::InvalidField,
        ),
        (
            "an answer where a write must be",
            path.clone(),
            body(&[&data, &bytes, &lane::receipt(Default::default())]),
            400,
            Reason::InvalidField,
        ),
    ] {
        let (answered, event) = call(&node, Method::PUT, &path, body).await;
        assert_eq!((answered.as_u16(), reason(event)), (status, expected), "{what}");
        assert!(node.is_empty(), "{what} left something: {:?}", node.store.usage());
    }
    let (status, event) = call(&node, Method::PUT, &path, whole).await;
    assert!(matches!(event, Some(Event::Receipt(_))), "{status} {event:?}");
}

#[tokio::test]
async fn a_wrong_read_is_refused_by_its_name() {
    let node = Harness::new(|_| {}).await;
    for (path, status, expected) in [
        (format!("/chunks/{}", chunk(0)), 404, Reason::ChunkNotFound),
        ("/chunks/..%2F..%2Fetc".to_owned(), 400, Reason::InvalidField),
        (format!("/chunks/{}?offset=x", chunk(0)), 400, Reason::InvalidField),
    ] {
        let (answered, event) = call(&node, Method::GET, &path, Bytes::new()).await;
        assert_eq!((answered.as_u16(), reason(event)), (status, expected), "{path}");
    }
    let (status, _) =
        call(&node, Method::DELETE, &format!("/chunks/{}", chunk(0)), Bytes::new()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}
