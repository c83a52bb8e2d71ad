//! List: names in byte order. Under a delimiter, names that have a prefix in common are skipped by
//! seeking past them, not by reading them.

use cairn_core::names::ObjectKey;
use cairn_core::object::ObjectInfo;
use cairn_kv::{KeyRange, Read};

use crate::catalog::{Bucket, BucketKey, Head, HeadKey, record};
use crate::error::{BucketNotFound, CatalogError, operation_error};

/// Most entries of one answer.
pub(crate) const MAX_ENTRIES: usize = 1000;
/// Most records read in one step.
const MAX_BATCH: usize = 256;
/// Records read in the first step behind a common prefix: the next name may roll up as well.
const FIRST_BATCH: usize = 2;

operation_error! {
    /// Why there is no list.
    ListError {
        Catalog(CatalogError),
        Bucket(BucketNotFound),
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
    if record::get::<Bucket>(read, &request.bucket)?.is_none() {
        return Err(BucketNotFound(request.bucket.bucket.clone()).into());
    }
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
    Ok(Listed { entries, next_after })
}

/// Where to read next.
enum Seek {
    /// Past a common prefix.
    Behind(KeyRange),
    /// Behind the last name.
    On(KeyRange),
    /// Nothing was read.
    Nowhere,
}

/// Adds names until one rolls up: what was read behind it is left, as it may roll up as well.
fn take(request: &List, heads: Vec<(HeadKey, Head)>, entries: &mut Vec<Entry>) -> Seek {
    let mut last: Option<ObjectKey> = None;
    for (HeadKey { bucket, key, .. }, head) in heads {
        if let Some(common) = request.rolled_up(key.as_str()) {
            entries.push(Entry::CommonPrefix(common.to_owned()));
            return Seek::Behind(request.behind_prefix(common));
        }
        // The newest version of a name comes first; older ones are not shown.
        if last.as_ref() != Some(&key) {
            let info = head.into_info(bucket, key.clone());
            entries.push(Entry::Object(Box::new(info)));
            last = Some(key);
        }
    }
    match last {
        Some(key) => Seek::On(request.behind_name(key.as_str())),
        None => Seek::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use cairn_core::digest::FileRoot;
    use cairn_core::names::{BucketName, TenantId};
    use cairn_core::object::VersionId;
    use cairn_kv::{AccessError, Direction, Durability, Entry as KvEntry, Kv, Txn};
    use uuid::Uuid;

    use super::*;

    /// Counts the records that are read.
    struct Counted<'a, R>(&'a R, Cell<usize>);

    impl<R: Read> Read for Counted<'_, R> {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, AccessError> {
            self.1.set(self.1.get() + 1);
            self.0.get(key)
        }

        fn scan(
            &self,
            range: &KeyRange,
            limit: usize,
            direction: Direction,
        ) -> Result<Vec<KvEntry>, AccessError> {
            let found = self.0.scan(range, limit, direction)?;
            self.1.set(self.1.get() + found.len());
            Ok(found)
        }
    }

    fn bucket() -> BucketKey {
        BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() }
    }

    fn fill(txn: &mut Txn<'_>, names: &[String]) -> Result<(), CatalogError> {
        record::put(txn, &bucket(), &Bucket::default())?;
        for name in names {
            let BucketKey { tenant, bucket } = bucket();
            let key = ObjectKey::new(name.as_str()).expect("a key");
            let head = Head {
                version: VersionId::from_uuid(Uuid::nil()),
                length: 0,
                committed_ms: 0,
                etag: String::new(),
                sha256: None,
                root: FileRoot([0; 32]),
            };
            record::put(txn, &HeadKey { tenant, bucket, key, sequence: 0 }, &head)?;
        }
        Ok(())
    }

    /// Lists under "/" what three folders of a thousand names hold: entries, and records read.
    async fn read_for(limit: usize, after: &str) -> (Listed, usize) {
        let kv = Kv::memory();
        let names: Vec<_> = ["a", "b", "c"]
            .iter()
            .flat_map(|folder| (0..1000).map(move |n| format!("{folder}/{n:04}")))
            .collect();
        kv.transact(Durability::Buffered, move |txn| fill(txn, &names)).await.expect("written");
        let (delimiter, after, prefix) = ("/".to_owned(), after.to_owned(), String::new());
        let request = List { bucket: bucket(), prefix, delimiter, after, limit };
        kv.view(move |view| {
            let counted = Counted(view, Cell::new(0));
            let listed = list(&counted, &request)?;
            Ok::<_, ListError>((listed, counted.1.get()))
        })
        .await
        .expect("listed")
    }

    #[tokio::test]
    async fn common_prefixes_are_skipped_by_seeking() {
        let (listed, read) = read_for(10, "").await;
        let names: Vec<_> = listed.entries.iter().map(Entry::name).collect();
        assert_eq!((names, listed.next_after), (vec!["a/", "b/", "c/"], None));
        assert!(read <= 10, "{read} records were read for 3 entries of 3000 names");
    }

    #[tokio::test]
    async fn a_page_that_ends_in_a_common_prefix_goes_on_behind_it() {
        let (listed, _) = read_for(1, "").await;
        assert_eq!(listed.next_after.as_deref(), Some("a/"));
        let (listed, read) = read_for(1, "a/").await;
        assert_eq!(listed.entries, [Entry::CommonPrefix("b/".into())]);
        assert!(read <= 6, "{read} records were read");
    }
}
