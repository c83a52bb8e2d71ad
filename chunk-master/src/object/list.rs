//! List: names in byte order. Under a delimiter, names that have a prefix in common are skipped by
//! seeking past them, not by reading them; so are older versions of a name.
//!
//! What a page reads is bounded by its limit alone, see [`most_records`]: batches grow only while every record becomes
//! an entry, and what was read ahead is thrown away at most once for each entry that ends a batch.

use cairn_core::names::ObjectKey;
use cairn_core::object::ObjectInfo;
use cairn_kv::{KeyRange, Read};

use crate::bucket::{self, NoBucket};
use crate::catalog::{BucketKey, Counted, Head, HeadKey, record};
use crate::error::{CatalogError, operation_error};

/// Most entries of one answer.
pub(crate) const MAX_ENTRIES: usize = 1000;
/// Most records read in one step.
const MAX_BATCH: usize = 256;
/// Records read in the first step behind a common prefix: the next name may roll up as well.
const FIRST_BATCH: usize = 2;

/// Most records that a page of `limit` entries reads, whatever lies between them.
pub(crate) const fn most_records(limit: usize) -> usize {
    // The bucket; each entry, and the one that tells of a next page; and what was read ahead in vain: once at most a page,
    // and where a run ends at most as much as the run is long.
    1 + 3 * (limit + 1)
}

operation_error! {
    /// Why there is no list.
    ListError {
        Catalog(CatalogError),
        Bucket(NoBucket),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) bucket: BucketKey,
    pub(crate) prefix: String,
    /// Empty: none.
    pub(crate) delimiter: String,
    /// Empty: from the beginning.
    pub(crate) after: String,
    /// 1 to [`MAX_ENTRIES`].
    pub(crate) limit: usize,
}

/// A name, or what several names have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Object(Box<ObjectInfo>),
    CommonPrefix(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object(object) => object.key.as_str(),
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// A page of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) entries: Vec<Entry>,
    pub(crate) next_after: Option<String>,
    /// Records that were read for it.
    pub(crate) records: usize,
}

impl List {
    /// The part of `name` up to and with the first delimiter behind the prefix, when it has one.
    fn rolled_up<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.prefix.as_str())?;
        if self.delimiter.is_empty() {
            return None;
        }
        let at = rest.find(&self.delimiter)?;
        Some(&name[..self.prefix.len() + at + self.delimiter.len()])
    }

    /// All names with the prefix.
    fn names(&self) -> KeyRange {
        self.names_from(&self.prefix)
    }

    fn names_from(&self, start: &str) -> KeyRange {
        record::prefixed::<Head>(|parts| {
            parts
                .text(self.bucket.tenant.as_str())
                .text(self.bucket.bucket.as_str())
                .start_of_text(start);
        })
    }

    /// Names with the prefix behind everything that begins with `common`.
    fn behind_prefix(&self, common: &str) -> KeyRange {
        // No name holds a byte 0xFF, so this key is behind all names that begin with `common`.
        let last = record::raw_key::<Head>(|parts| {
            parts
                .text(self.bucket.tenant.as_str())
                .text(self.bucket.bucket.as_str())
                .start_of_text(common)
                .byte(u8::MAX);
        });
        self.names().after(last)
    }

    /// Names with the prefix behind `name` and all its versions.
    fn behind_name(&self, name: &str) -> KeyRange {
        let last = record::raw_key::<Head>(|parts| {
            parts
                .text(self.bucket.tenant.as_str())
                .text(self.bucket.bucket.as_str())
                .text(name)
                .u64(u64::MAX)
                .byte(0);
        });
        self.names().after(last)
    }

    /// Where the page begins. What `after` itself rolls up to was shown on an earlier page.
    fn start(&self) -> KeyRange {
        match self.rolled_up(&self.after) {
            Some(common) => self.behind_prefix(common),
            None if self.after.is_empty() => self.names(),
            None => self.behind_name(&self.after),
        }
    }
}

/// Lists a page.
pub(crate) fn list(read: &impl Read, request: &List) -> Result<Listed, ListError> {
    let read = &Counted::new(read);
    bucket::live(read, &request.bucket)?;
    // One more than fits tells whether there is a next page.
    let wanted = request.limit + 1;
    let mut entries: Vec<Entry> = Vec::new();
    let mut range = request.start();
    let mut batch = if request.delimiter.is_empty() { MAX_BATCH } else { FIRST_BATCH };
    while entries.len() < wanted {
        let limit = batch.min(wanted - entries.len());
        let heads = record::scan::<Head>(read, &range, limit)?;
        let ends = heads.len() < limit;
        match take(request, heads, &mut entries) {
            Seek::Behind(next) => {
                range = next;
                batch = FIRST_BATCH;
            }
            Seek::On(_) | Seek::Nowhere if ends => break,
            Seek::On(next) => {
                range = next;
                batch = (batch * 2).min(MAX_BATCH);
            }
            Seek::Nowhere => break,
        }
    }
    let more = entries.len() > request.limit;
    entries.truncate(request.limit);
    let next_after = entries.last().filter(|_| more).map(|e| e.name().to_owned());
    let records = read.records();
    debug_assert!(records <= most_records(request.limit), "{records} records for {request:?}");
    Ok(Listed { entries, next_after, records })
}

/// Where to read next.
enum Seek {
    /// Past a common prefix, or past older versions.
    Behind(KeyRange),
    /// Behind the last name.
    On(KeyRange),
    /// Nothing was read.
    Nowhere,
}

/// Adds names until one rolls up or has older versions: what was read behind it is left, as it may be passed over too.
fn take(request: &List, heads: Vec<(HeadKey, Head)>, entries: &mut Vec<Entry>) -> Seek {
    let mut last: Option<ObjectKey> = None;
    for (HeadKey { bucket, key, .. }, head) in heads {
        if let Some(common) = request.rolled_up(key.as_str()) {
            entries.push(Entry::CommonPrefix(common.to_owned()));
            return Seek::Behind(request.behind_prefix(common));
        }
        // The newest version of a name comes first; older ones are not shown.
        if last.as_ref() == Some(&key) {
            return Seek::Behind(request.behind_name(key.as_str()));
        }
        let info = head.into_info(bucket, key.clone());
        entries.push(Entry::Object(Box::new(info)));
        last = Some(key);
    }
    match last {
        Some(key) => Seek::On(request.behind_name(key.as_str())),
        None => Seek::Nowhere,
    }
}

#[cfg(test)]
mod measure;

#[cfg(test)]
mod tests {
    use cairn_core::digest::FileRoot;
    use cairn_core::names::{BucketName, TenantId};
    use cairn_core::object::VersionId;
    use cairn_kv::{Durability, Kv, Txn};
    use proptest::prelude::{
        ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, proptest,
    };
    use uuid::Uuid;

    use super::*;
    use crate::catalog::Bucket;

    fn bucket() -> BucketKey {
        BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() }
    }

    /// Writes names, each with so many versions.
    fn fill(txn: &mut Txn<'_>, names: &[(String, u64)]) -> Result<(), CatalogError> {
        record::put(txn, &bucket(), &Bucket::default())?;
        for (name, sequence) in names.iter().flat_map(|(name, n)| (0..*n).map(move |v| (name, v))) {
            let BucketKey { tenant, bucket } = bucket();
            let key = ObjectKey::new(name.as_str()).expect("a key");
            let head = Head {
                version: VersionId::from_uuid(Uuid::nil()),
                length: sequence,
                committed_ms: 0,
                etag: String::new(),
                sha256: None,
                root: FileRoot([0; 32]),
                chunks: None,
            };
            record::put(txn, &HeadKey { tenant, bucket, key, sequence }, &head)?;
        }
        Ok(())
    }

    async fn holding(names: Vec<(String, u64)>) -> Kv {
        let kv = Kv::memory();
        kv.transact(Durability::Buffered, move |txn| fill(txn, &names)).await.expect("written");
        kv
    }

    async fn page(kv: &Kv, prefix: &str, delimiter: &str, after: &str, limit: usize) -> Listed {
        let (prefix, delimiter, after) = (prefix.into(), delimiter.into(), after.into());
        let request = List { bucket: bucket(), prefix, delimiter, after, limit };
        kv.view(move |view| list(view, &request)).await.expect("listed")
    }

    /// Three folders of a thousand names.
    async fn folders() -> Kv {
        let name = |folder: &str, n: u64| (format!("{folder}/{n:04}"), 1);
        let names = ["a", "b", "c"].iter().flat_map(|f| (0..1000).map(move |n| name(f, n)));
        holding(names.collect()).await
    }

    #[tokio::test]
    async fn common_prefixes_are_skipped_by_seeking() {
        let listed = page(&folders().await, "", "/", "", 10).await;
        let names: Vec<_> = listed.entries.iter().map(Entry::name).collect();
        assert_eq!((names, listed.next_after), (vec!["a/", "b/", "c/"], None));
        let records = listed.records;
        assert!(records <= 10, "{records} records were read for 3 entries of 3000 names");
    }

    #[tokio::test]
    async fn a_page_that_ends_in_a_common_prefix_goes_on_behind_it() {
        let kv = folders().await;
        assert_eq!(page(&kv, "", "/", "", 1).await.next_after.as_deref(), Some("a/"));
        let listed = page(&kv, "", "/", "a/", 1).await;
        assert_eq!(listed.entries, [Entry::CommonPrefix("b/".into())]);
        assert!(listed.records <= 6, "{} records were read", listed.records);
    }

    #[tokio::test]
    async fn older_versions_between_names_are_passed_over_and_the_newest_is_shown() {
        let kv = holding((0..5).map(|n| (format!("k{n}"), 500)).collect()).await;
        let listed = page(&kv, "", "", "", 10).await;
        let lengths = listed.entries.iter().map(|entry| match entry {
            Entry::Object(object) => object.length,
            Entry::CommonPrefix(_) => 0,
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [499; 5]);
        assert!(listed.records <= most_records(10), "{} records were read", listed.records);
    }

    fn names() -> impl Strategy<Value = Vec<(String, u64)>> {
        prop::collection::vec(("[abü/]{1,6}", 1_u64..9), 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn pages_hold_what_a_plain_walk_finds_and_read_no_more_than_the_bound(
            names in names(),
            prefix in "[ab/]{0,2}",
            delimiter in "[/a]{0,1}",
            limit in 1_usize..20,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runs");
            let mut expected = std::collections::BTreeSet::new();
            for (name, _) in names.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                let end = name[prefix.len()..].find(&delimiter).filter(|_| !delimiter.is_empty());
                let shown = end.map_or(name.len(), |at| prefix.len() + at + delimiter.len());
                expected.insert(name[..shown].to_owned());
            }
            let kv = runtime.block_on(holding(names));
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let listed = runtime.block_on(page(&kv, &prefix, &delimiter, &after, limit));
                prop_assert!(listed.records <= most_records(limit), "{} records", listed.records);
                found.extend(listed.entries.iter().map(|entry| entry.name().to_owned()));
                let Some(next) = listed.next_after else { break };
                prop_assert_eq!(listed.entries.len(), limit);
                after = next;
            }
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
