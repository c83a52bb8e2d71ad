//! `cairn.v1.Buckets` on the gateway's port.

use cairn_proto::v1::buckets_client::BucketsClient;
use cairn_proto::v1::{
    BucketSettings, BucketState, CreateBucketRequest, DeleteBucketRequest, GetBucketRequest,
    ListBucketsRequest, UpdateBucketRequest,
};
use cairn_proto::{Reason, RemoteError};

use crate::harness::{Content, Up, channel};

#[tokio::test]
async fn a_bucket_is_created_shown_changed_listed_and_deleted() {
    let up = Up::start().await;
    let mut calls = BucketsClient::new(channel(up.edge.gateway).await);
    let bucket = || "photos".to_owned();
    let settings = Some(BucketSettings { copies: Some(1), ..Default::default() });
    let create = CreateBucketRequest { bucket: bucket(), settings: settings.clone() };
    let made = calls.create(create.clone()).await.expect("created").into_inner().bucket;
    let made = made.expect("a bucket");
    assert_eq!((made.state(), made.settings), (BucketState::Live, settings));
    let again = RemoteError::from(calls.create(create).await.expect_err("it exists"));
    assert_eq!(again.reason, Reason::BucketExists);

    let update = UpdateBucketRequest {
        bucket: bucket(),
        settings: Some(BucketSettings { quota_bytes: Some(9), ..Default::default() }),
        fields: vec!["copies".into(), "quota_bytes".into()],
    };
    let changed = calls.update(update).await.expect("changed").into_inner().bucket;
    let changed = changed.expect("a bucket");
    let settings = changed.settings.as_ref().expect("settings");
    assert_eq!((settings.copies, settings.quota_bytes), (None, Some(9)));
    assert_eq!(changed.effective.as_ref().expect("a policy").copies, Some(2));
    let shown = calls.get(GetBucketRequest { bucket: bucket() }).await.expect("shown");
    assert_eq!(shown.into_inner().bucket, Some(changed));
    let request = ListBucketsRequest { prefix: "ph".into(), ..Default::default() };
    let page = calls.list(request).await.expect("a page").into_inner();
    assert_eq!((page.buckets.len(), page.next_after), (1, None));

    up.edge.http().put("/v1/buckets/photos/files/a", Content::new(1, 9)).await.expect(201);
    let delete = |with_contents| DeleteBucketRequest { bucket: bucket(), with_contents };
    let kept = RemoteError::from(calls.delete(delete(false)).await.expect_err("a file"));
    assert_eq!(kept.reason, Reason::BucketNotEmpty);
    assert!(!calls.delete(delete(true)).await.expect("begins").into_inner().gone);
    for (field, request) in [
        ("bucket", GetBucketRequest::default()),
        ("bucket", GetBucketRequest { bucket: "No".into() }),
    ] {
        let refused = RemoteError::from(calls.get(request).await.expect_err(field));
        assert_eq!(refused.reason, Reason::InvalidField);
        assert!(refused.message.contains(field), "{refused}");
    }
    let long = ListBucketsRequest { limit: 1001, ..Default::default() };
    let refused = RemoteError::from(calls.list(long).await.expect_err("too many"));
    assert_eq!(refused.reason, Reason::InvalidField);
}
