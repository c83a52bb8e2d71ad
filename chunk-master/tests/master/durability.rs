//! What an acknowledgement means: as many copies as were asked for, fewer where that is allowed, and the rest later.

use std::time::Duration;

use cairn_chunk_master::Config;
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::Clock;

use crate::cluster::{CHUNK, Cluster, Upload, config};

const SECOND: Duration = Duration::from_secs(1);

fn asked(copies: u32, zones: u32) -> Option<v1::AskedDurability> {
    Some(v1::AskedDurability { copies, zones })
}

/// Begins a file of one chunk; the answer as well.
async fn begin(
    cluster: &mut Cluster,
    change: impl FnOnce(&mut v1::BeginUploadRequest),
) -> Result<(Upload, v1::BeginUploadResponse), RemoteError> {
    let mut request = cluster.begin_request("a", Some(CHUNK));
    change(&mut request);
    let answer = cluster.client.begin_upload(request.clone()).await?.into_inner();
    let (id, blob) = (request.upload_id, answer.blob_id.clone());
    Ok((Upload { id, blob, reserved: answer.reserved }, answer))
}

fn reason<T>(refused: Result<T, RemoteError>) -> Reason {
    refused.map(drop).expect_err("refused").reason
}

/// The one chunk of an upload becomes durable on these nodes.
async fn store(cluster: &mut Cluster, upload: &Upload, nodes: &[usize]) {
    let receipt = cluster.store_on(upload, 0, CHUNK, nodes);
    assert_eq!(cluster.confirm(upload, vec![receipt]).await.unwrap(), []);
}

/// Copies and copies wanted, as the commit answers them.
async fn committed(cluster: &mut Cluster, upload: &Upload) -> Result<(u32, u32), RemoteError> {
    let answer = cluster.commit(upload, CHUNK).await?;
    let receipt = answer.durability.unwrap();
    Ok((receipt.copies, receipt.wanted))
}

/// Good copies of each chunk.
async fn good(cluster: &mut Cluster) -> Vec<usize> {
    let listed = cluster.admin.list_chunks(v1::ListChunksRequest::default()).await.unwrap();
    listed.into_inner().chunks.iter().map(|chunk| chunk.good.len()).collect()
}

#[tokio::test(start_paused = true)]
async fn with_the_least_copies_a_write_is_accepted_marked_and_repaired_when_there_are_nodes_again()
{
    let config = Config { least_copies: Some(1), sweep_every: SECOND, ..config() };
    let mut cluster = Cluster::with(config, &["a"]).await;
    let (upload, answer) = begin(&mut cluster, |_| {}).await.unwrap();
    assert_eq!((answer.copies, answer.least_copies), (2, 1));
    assert_eq!(answer.placements[0].places.len(), 1);
    store(&mut cluster, &upload, &[0]).await;
    assert_eq!(committed(&mut cluster, &upload).await.unwrap(), (1, 2));
    let short = cluster.admin.list_short_chunks(v1::ListShortChunksRequest::default()).await;
    assert_eq!(short.unwrap().into_inner().chunks.len(), 1);

    cluster.add_node("b").await;
    for _ in 0..5 {
        Clock::system().sleep(SECOND).await;
        cluster.beat_all().await;
    }
    assert_eq!(good(&mut cluster).await, [2]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn without_it_all_copies_are_needed() {
    let mut cluster = Cluster::with(config(), &["a"]).await;
    assert_eq!(reason(begin(&mut cluster, |_| {}).await), Reason::TooFewNodes);
    cluster.add_node("b").await;
    let (upload, answer) = begin(&mut cluster, |_| {}).await.unwrap();
    assert_eq!((answer.copies, answer.least_copies), (2, 2));
    store(&mut cluster, &upload, &[0]).await;
    assert_eq!(reason(committed(&mut cluster, &upload).await), Reason::UploadIncomplete);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_says_by_itself_with_how_many_copies_it_does() {
    let mut cluster = Cluster::with(config(), &["a", "b"]).await;
    let settings = v1::BucketSettings {
        copies: Some(3),
        least_copies: Some(2),
        zones: Some(3),
        ..Default::default()
    };
    cluster.make_bucket("photos", settings).await.unwrap();
    let in_photos = |request: &mut v1::BeginUploadRequest| request.bucket = "photos".into();
    let (upload, answer) = begin(&mut cluster, in_photos).await.unwrap();
    assert_eq!(answer.placements[0].places.len(), 2);
    store(&mut cluster, &upload, &[0, 1]).await;
    assert_eq!(committed(&mut cluster, &upload).await.unwrap(), (2, 3));
    // With one node less it is too few.
    let mut lone = Cluster::with(config(), &["a"]).await;
    let settings =
        v1::BucketSettings { copies: Some(3), least_copies: Some(2), ..Default::default() };
    lone.make_bucket("photos", settings).await.unwrap();
    assert_eq!(reason(begin(&mut lone, in_photos).await), Reason::TooFewNodes);
}

#[tokio::test(start_paused = true)]
async fn more_copies_than_the_bucket_asks_for_are_placed_and_fewer_are_refused() {
    let mut cluster = Cluster::with(config(), &["a", "b", "b"]).await;
    let three = |request: &mut v1::BeginUploadRequest| request.durability = asked(3, 0);
    let (upload, answer) = begin(&mut cluster, three).await.unwrap();
    assert_eq!((answer.copies, answer.least_copies), (3, 3));
    assert_eq!(answer.placements[0].places.len(), 3);
    store(&mut cluster, &upload, &[0, 1]).await;
    assert_eq!(reason(committed(&mut cluster, &upload).await), Reason::UploadIncomplete);
    store(&mut cluster, &upload, &[2]).await;
    assert_eq!(committed(&mut cluster, &upload).await.unwrap(), (3, 3));

    for (copies, zones) in [(4, 0), (3, 3), (0, 3)] {
        let more = |request: &mut v1::BeginUploadRequest| request.durability = asked(copies, zones);
        let refused = reason(begin(&mut cluster, more).await);
        assert_eq!(refused, Reason::TooFewNodes, "{copies} copies, {zones} zones");
    }
    for (copies, zones) in [(9, 0), (2, 3), (0, 9)] {
        let none = |request: &mut v1::BeginUploadRequest| request.durability = asked(copies, zones);
        let refused = reason(begin(&mut cluster, none).await);
        assert_eq!(refused, Reason::InvalidField, "{copies} copies, {zones} zones");
    }
    // Less than the bucket asks for is no more than a least.
    let one = |request: &mut v1::BeginUploadRequest| request.durability = asked(1, 1);
    let (_, answer) = begin(&mut cluster, one).await.unwrap();
    assert_eq!((answer.copies, answer.least_copies), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_quorum_is_committed_and_its_late_copies_are_named_once_and_where_they_are_wanted() {
    let mut cluster = Cluster::with(config(), &["a", "b", "c"]).await;
    let quorum = |request: &mut v1::BeginUploadRequest| {
        request.write = "parallel; quorum=1".into();
        // So that the third node was given out as well.
        request.durability = asked(3, 0);
    };
    let refused = begin(&mut cluster, quorum).await.unwrap().1;
    assert_eq!(refused.least_copies, 3, "what is asked at least counts for more than a quorum");
    let quorum = |request: &mut v1::BeginUploadRequest| request.write = "parallel; quorum=1".into();
    let (upload, answer) = begin(&mut cluster, quorum).await.unwrap();
    assert_eq!((answer.copies, answer.least_copies), (2, 1));
    let given: Vec<usize> = (0..3)
        .filter(|n| {
            let id = cluster.nodes[*n].id_bytes();
            answer.placements[0].places.iter().any(|place| place.node_id == id)
        })
        .collect();
    store(&mut cluster, &upload, &given[..1]).await;
    let early = cluster.store_on(&upload, 0, CHUNK, &given[1..]);
    let too_early = cluster.confirm_late(&upload, vec![early.clone()]).await;
    assert_eq!(reason(too_early), Reason::UploadNotFound);
    assert_eq!(committed(&mut cluster, &upload).await.unwrap(), (1, 2));

    let other = v1::ChunkReceipt { hash: vec![8; 32].into(), ..early.clone() };
    assert_eq!(cluster.confirm_late(&upload, vec![other]).await.unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(cluster.confirm_late(&upload, vec![early.clone()]).await.unwrap(), []);
        assert_eq!(good(&mut cluster).await, [2]);
    }
    let stranger = (0..3).find(|n| !given.contains(n)).unwrap();
    let stray = cluster.store_on(&upload, 0, CHUNK, &[stranger]);
    assert_eq!(cluster.confirm_late(&upload, vec![stray]).await.unwrap().len(), 1);
    assert_eq!(cluster.audited().await, Vec::<String>::new());

    cluster.delete("a").await.unwrap();
    assert_eq!(cluster.confirm_late(&upload, vec![early]).await.unwrap().len(), 1, "condemned");
}

#[tokio::test(start_paused = true)]
async fn a_quorum_below_what_the_bucket_must_have_is_refused() {
    let mut cluster = Cluster::with(config(), &["a", "b", "c"]).await;
    let settings =
        v1::BucketSettings { copies: Some(3), least_copies: Some(2), ..Default::default() };
    cluster.make_bucket("photos", settings).await.unwrap();
    for (write, least) in
        [("parallel; quorum=1", None), ("parallel; quorum=2", Some(2)), ("", Some(2))]
    {
        let begun = begin(&mut cluster, |request| {
            request.bucket = "photos".into();
            request.write = write.into();
        });
        match (begun.await, least) {
            (Ok((_, answer)), Some(least)) => assert_eq!(answer.least_copies, least, "{write}"),
            (refused, None) => assert_eq!(reason(refused), Reason::InvalidField, "{write}"),
            (Err(error), Some(_)) => panic!("{write}: {error}"),
        }
    }
    let unknown = begin(&mut cluster, |request| request.write = "first".into()).await;
    assert_eq!(reason(unknown), Reason::InvalidField);
}

#[tokio::test(start_paused = true)]
async fn the_uploads_of_a_name_are_known_while_they_are_open() {
    let mut cluster = Cluster::small().await;
    let pending = async |cluster: &mut Cluster, key: &str| {
        let (bucket, key) = ("default".into(), key.into());
        let request = v1::PendingUploadsRequest { bucket, key, principal: None };
        let answer = cluster.client.pending_uploads(request).await.unwrap().into_inner();
        answer.upload_ids
    };
    let kept = cluster.begin("k", Some(10)).await.unwrap();
    let given_up = cluster.begin("k", Some(10)).await.unwrap();
    cluster.begin("key", Some(10)).await.unwrap();
    let mut both = vec![kept.id.clone(), given_up.id.clone()];
    both.sort();
    let mut open = pending(&mut cluster, "k").await;
    open.sort();
    assert_eq!(open, both);
    cluster.write(&kept, 10).await.unwrap();
    cluster.commit(&kept, 10).await.unwrap();
    assert_eq!(pending(&mut cluster, "k").await, std::slice::from_ref(&given_up.id));
    cluster.abort(&given_up).await.unwrap();
    assert_eq!(pending(&mut cluster, "k").await.len(), 0);
    assert_eq!(pending(&mut cluster, "key").await.len(), 1);
    let (bucket, key) = ("none".into(), "k".into());
    let request = v1::PendingUploadsRequest { bucket, key, principal: None };
    let refused = cluster.client.pending_uploads(request).await.map_err(RemoteError::from);
    assert_eq!(reason(refused), Reason::BucketNotFound);
}
