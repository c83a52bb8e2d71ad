//! What lies in the bucket: keys, identity, damage.

use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::conformance::{content, get, get_all, put, put_in_pieces, send};
use cairn_chain::object_tier::KeyForm;
use cairn_chain::{
    ChunkStore, Damage, EngineOpenError, ListChunks, ObjectTier, ObjectTierSeams, ReadError,
};
use cairn_core::ids::NodeId;
use cairn_core::range::ByteRange;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{chunk, config, open, seams};

const ALL: ListChunks = ListChunks { after: None, blob: None, limit: 100 };
const FORMS: [KeyForm; 2] = [KeyForm::Plain, KeyForm::Hashed];

async fn keys(bucket: &InMemory) -> Vec<String> {
    let objects: Vec<_> = bucket.list(None).try_collect().await.expect("a list");
    objects.into_iter().map(|object| object.location.to_string()).collect()
}

/// The only object of a folder.
async fn only(bucket: &InMemory, folder: &str) -> Path {
    let below = Path::from(format!("some/where/{folder}"));
    let objects: Vec<_> = bucket.list(Some(&below)).try_collect().await.expect("a list");
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects[0].location.clone()
}

async fn edit(bucket: &InMemory, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let found = bucket.get(path).await.expect("the object");
    let mut bytes = found.bytes().await.expect("its bytes").to_vec();
    edit(&mut bytes);
    bucket.put(path, bytes.into()).await.expect("put");
}

fn damage(read: Result<Bytes, ReadError>) -> Damage {
    match read {
        Err(ReadError::Corrupt { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn chunks_and_identity_outlive_the_process() {
    for form in FORMS {
        let bucket = Arc::new(InMemory::new());
        let store = open(&bucket, form).await.unwrap();
        let disk = store.disks()[0].disk;
        let bytes = content(300_000, 1);
        for index in 0..20 {
            put(&store, chunk(index), &bytes).await.unwrap();
        }
        store.delete(vec![chunk(7)]).await.unwrap();
        let (usage, listed) = (store.usage(), store.list(ALL).await.unwrap());
        store.close().await;
        let again = ObjectTier::open_on(bucket, &config(form), seams(2)).await.unwrap();
        assert_eq!(again.disks()[0].disk, disk, "another seed draws another one");
        assert_eq!(again.usage(), usage);
        assert_eq!(again.list(ALL).await.unwrap(), listed);
        assert!(get_all(&again, chunk(19)).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn everything_lies_below_the_prefix_by_id_or_by_hash() {
    for form in FORMS {
        let bucket = Arc::new(InMemory::new());
        let store = open(&bucket, form).await.unwrap();
        put(&store, chunk(3), &content(10, 1)).await.unwrap();
        let keys = keys(&bucket).await;
        let [object, identity] = &keys[..] else { panic!("{keys:?}") };
        assert_eq!(identity, "some/where/store");
        let name = object.strip_prefix("some/where/chunks/").expect("below the prefix");
        match form {
            KeyForm::Plain => assert_eq!(name, chunk(3).to_string()),
            KeyForm::Hashed => {
                assert!(name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_opening_is_harmless() {
    let bucket = Arc::new(InMemory::new());
    let first = open(&bucket, KeyForm::Plain).await.unwrap();
    let bytes = content(1000, 1);
    put(&first, chunk(0), &bytes).await.unwrap();
    let second = open(&bucket, KeyForm::Plain).await.unwrap();
    assert_eq!(first.disks()[0].disk, second.disks()[0].disk);
    put(&second, chunk(0), &bytes).await.unwrap();
    put(&first, chunk(0), &bytes).await.unwrap();
    second.delete(vec![chunk(0)]).await.unwrap();
    let read = get_all(&first, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    put(&first, chunk(0), &bytes).await.unwrap();
    assert!(get_all(&first, chunk(0)).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_prefix_of_another_node_is_refused_whoever_comes_first_and_also_at_once() {
    let seams = |node: u8| ObjectTierSeams {
        node: NodeId::from_slice(&[node; 16]).expect("16 bytes"),
        ..seams(node.into())
    };
    let config = config(KeyForm::Plain);
    let bucket = Arc::new(InMemory::new());
    let open = |node| ObjectTier::open_on(bucket.clone(), &config, seams(node));
    let (one, other) = tokio::join!(open(1), open(2));
    let (winner, refused) = match (one, other) {
        (Ok(_), Err(refused)) => (1, refused),
        (Err(refused), Ok(_)) => (2, refused),
        both => panic!("one opens it: {both:?}"),
    };
    assert!(matches!(refused, EngineOpenError::OfAnotherNode { .. }), "{refused:?}");
    open(winner).await.expect("it is that node's");
    let later = open(3).await;
    assert!(matches!(later, Err(EngineOpenError::OfAnotherNode { .. })), "{later:?}");
}

#[tokio::test]
async fn another_format_another_form_and_a_lost_identity_are_refused() {
    let bucket = Arc::new(InMemory::new());
    let store = open(&bucket, KeyForm::Plain).await.unwrap();
    put(&store, chunk(0), &content(10, 1)).await.unwrap();
    let refused = |form| {
        let bucket = bucket.clone();
        async move { open(&bucket, form).await.expect_err("refused") }
    };
    let error = refused(KeyForm::Hashed).await;
    assert!(matches!(error, EngineOpenError::Setting { setting: "keys", .. }), "{error}");
    let identity = Path::from("some/where/store");
    edit(&bucket, &identity, |record| record[40] ^= 1).await;
    let error = refused(KeyForm::Plain).await;
    assert!(matches!(error, EngineOpenError::IdentityDamaged { .. }), "{error}");
    edit(&bucket, &identity, |record| *record = b"cairn chunk objects\nformat 7\n".into()).await;
    let error = refused(KeyForm::Plain).await;
    assert!(error.to_string().contains("format 7"), "{error}");
    bucket.delete(&identity).await.unwrap();
    let error = refused(KeyForm::Plain).await;
    assert!(matches!(error, EngineOpenError::IdentityMissing { .. }), "{error}");
}

#[tokio::test]
async fn objects_that_are_not_ours_are_left_alone() {
    for form in FORMS {
        let bucket = Arc::new(InMemory::new());
        let store = open(&bucket, form).await.unwrap();
        put(&store, chunk(0), &content(10, 1)).await.unwrap();
        for name in ["readme", "00000000-0000-0000-0000-000000000000.01", "x/y"] {
            let path = Path::from(format!("some/where/chunks/{name}"));
            bucket.put(&path, vec![0; 200].into()).await.unwrap();
        }
        let before = keys(&bucket).await;
        let store = open(&bucket, form).await.unwrap();
        assert_eq!(store.list(ALL).await.unwrap().chunks.len(), 1);
        assert_eq!(keys(&bucket).await, before);
    }
}

#[tokio::test]
async fn damage_is_named_and_put_aside_for_good() {
    for form in FORMS {
        let bucket = Arc::new(InMemory::new());
        let store = open(&bucket, form).await.unwrap();
        let bytes = content(3_000_000, 1);
        put(&store, chunk(0), &bytes).await.unwrap();
        let path = only(&bucket, "chunks").await;
        edit(&bucket, &path, |object| object[2 * 65_536] ^= 1).await;
        assert_eq!(damage(get_all(&store, chunk(0)).await), Damage::Block(2));
        let beside = ByteRange { offset: 1_000_000, length: 1 };
        let (at, read) = get(&store, chunk(0), beside).await.unwrap();
        assert!(read == bytes[at as usize..at as usize + read.len()]);
        assert!(store.quarantine(chunk(0)).await.unwrap());
        only(&bucket, "quarantine").await;
        for store in [store, open(&bucket, form).await.unwrap()] {
            let read = get_all(&store, chunk(0)).await;
            assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
            assert_eq!((store.usage().chunks, store.usage().damaged), (0, 1));
            assert!(store.list(ALL).await.unwrap().chunks.is_empty());
        }
        let store = open(&bucket, form).await.unwrap();
        put(&store, chunk(0), &bytes).await.unwrap();
        assert_eq!((store.usage().chunks, store.usage().damaged), (1, 0));
        store.delete(vec![chunk(0)]).await.unwrap();
        assert_eq!(keys(&bucket).await, ["some/where/store"], "nothing is left behind");
    }
}

#[tokio::test]
async fn damage_to_the_end_of_an_object_is_noticed() {
    let bucket = Arc::new(InMemory::new());
    let bytes = content(200_000, 1);
    type Edit = fn(&mut Vec<u8>);
    let edits: [(Edit, Damage); 5] = [
        (|object| *object.last_mut().unwrap() ^= 1, Damage::Description),
        (|object| object[200_000] ^= 1, Damage::Table),
        (|object| object.truncate(100_000), Damage::Length),
        (|object| object.extend([0; 10]), Damage::Length),
        (|object| object[200_016 + 75] = 2, Damage::UnknownFormat(2)),
    ];
    for (change, expected) in edits {
        let store = open(&bucket, KeyForm::Plain).await.unwrap();
        put(&store, chunk(0), &bytes).await.unwrap();
        edit(&bucket, &only(&bucket, "chunks").await, change).await;
        assert_eq!(damage(get_all(&store, chunk(0)).await), expected);
        let stat = store.stat(chunk(0)).await;
        assert!(matches!(stat, Err(ReadError::Corrupt { .. })), "{stat:?}");
        store.delete(vec![chunk(0)]).await.unwrap();
    }
}

#[tokio::test]
async fn an_object_of_no_chunks_size_is_not_served_and_can_be_written_again() {
    let bucket = Arc::new(InMemory::new());
    let store = open(&bucket, KeyForm::Plain).await.unwrap();
    let bytes = content(200_000, 1);
    put(&store, chunk(0), &bytes).await.unwrap();
    edit(&bucket, &only(&bucket, "chunks").await, |object| object.truncate(50)).await;
    let store = open(&bucket, KeyForm::Plain).await.unwrap();
    assert_eq!((store.usage().chunks, store.usage().damaged), (0, 1));
    put(&store, chunk(0), &bytes).await.unwrap();
    assert!(get_all(&store, chunk(0)).await.unwrap() == bytes);
}

#[tokio::test]
async fn an_upload_by_parts_is_invisible_until_its_end_and_leaves_nothing_when_dropped() {
    let bucket = Arc::new(InMemory::new());
    let mut config = config(KeyForm::Plain);
    config.part_size = 5 << 20;
    let store = ObjectTier::open_on(bucket.clone(), &config, seams(1)).await.unwrap();
    let bytes = content(13_000_000, 1);
    let mut writer = store.begin(chunk(0), 13_000_000).await.unwrap();
    send(&mut *writer, chunk(0), &bytes, 700_000).await.unwrap();
    assert_eq!(keys(&bucket).await, ["some/where/store"]);
    drop(writer);
    put_in_pieces(&store, chunk(1), &bytes, 900_000).await.unwrap();
    store.close().await;
    let key = format!("some/where/chunks/{}", chunk(1));
    assert_eq!(keys(&bucket).await, [key, "some/where/store".to_owned()]);
    assert!(get_all(&store, chunk(1)).await.unwrap() == bytes);
}
