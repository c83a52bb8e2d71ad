//! Lists over the service.

use cairn_proto::v1::list_entry::Entry;
use cairn_proto::{Reason, v1};

use crate::cluster::{Cluster, reason};

async fn list_all(cluster: &mut Cluster, prefix: &str, delimiter: &str, limit: u32) -> Vec<String> {
    let mut after = String::new();
    let mut names = Vec::new();
    loop {
        let request = v1::ListObjectsRequest {
            bucket: "default".into(),
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            after,
            limit,
            ..Default::default()
        };
        let page = cluster.client.list_objects(request).await.unwrap().into_inner();
        assert!(page.entries.len() <= limit as usize);
        names.extend(page.entries.into_iter().map(|entry| match entry.entry.unwrap() {
            Entry::Object(object) => object.key,
            Entry::CommonPrefix(prefix) => prefix,
        }));
        match page.next_after {
            Some(next) => after = next,
            None => return names,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_come_in_byte_order_whatever_the_page_size() {
    let mut cluster = Cluster::small().await;
    let mut names =
        ["a", "a/1", "a/2", "a/b/1", "a0", "b//x", "b/x", "z/", "ü", "a!", "日/本", "日/a"];
    for name in names {
        cluster.put(name, 1).await.unwrap();
    }
    names.sort_unstable();
    for limit in [1, 2, 3, 100] {
        assert_eq!(list_all(&mut cluster, "", "", limit).await, names);
        let top = list_all(&mut cluster, "", "/", limit).await;
        assert_eq!(top, ["a", "a!", "a/", "a0", "b/", "z/", "ü", "日/"], "limit {limit}");
        let under = list_all(&mut cluster, "a/", "/", limit).await;
        assert_eq!(under, ["a/1", "a/2", "a/b/"]);
        assert_eq!(list_all(&mut cluster, "b/", "//", limit).await, ["b//x", "b/x"]);
        assert_eq!(list_all(&mut cluster, "日/", "", limit).await, ["日/a", "日/本"]);
        assert!(list_all(&mut cluster, "nothing", "/", limit).await.is_empty());
    }
    cluster.delete("a/1").await.unwrap();
    assert_eq!(list_all(&mut cluster, "a/", "/", 1).await, ["a/2", "a/b/"]);
}

#[tokio::test(start_paused = true)]
async fn after_need_not_be_a_name_that_exists() {
    let mut cluster = Cluster::small().await;
    for name in ["a", "b/1", "b/2", "c"] {
        cluster.put(name, 1).await.unwrap();
    }
    for (after, expected) in
        [("0", vec!["a", "b/", "c"]), ("aa", vec!["b/", "c"]), ("b/1", vec!["c"]), ("d", vec![])]
    {
        let request = v1::ListObjectsRequest {
            bucket: "default".into(),
            delimiter: "/".into(),
            after: after.into(),
            ..Default::default()
        };
        let page = cluster.client.list_objects(request).await.unwrap().into_inner();
        let names = page.entries.into_iter().map(|entry| match entry.entry.unwrap() {
            Entry::Object(object) => object.key,
            Entry::CommonPrefix(prefix) => prefix,
        });
        assert_eq!(names.collect::<Vec<_>>(), expected, "after {after}");
    }
    let request = v1::ListObjectsRequest { bucket: "absent".into(), ..Default::default() };
    let refused = cluster.client.list_objects(request).await.map_err(Into::into);
    assert_eq!(reason(refused), Reason::BucketNotFound);
}

/// One page, from `after` on.
async fn page(cluster: &mut Cluster, delimiter: &str, after: String) -> v1::ListObjectsResponse {
    let request = v1::ListObjectsRequest {
        bucket: "default".into(),
        delimiter: delimiter.into(),
        after,
        limit: 7,
        ..Default::default()
    };
    cluster.client.list_objects(request).await.unwrap().into_inner()
}

/// Between two pages names come and go, before and behind the place where the list is.
#[tokio::test(start_paused = true)]
async fn names_that_are_there_all_the_time_are_listed_once_while_others_come_and_go() {
    for delimiter in ["", "/"] {
        let mut cluster = Cluster::small().await;
        let stays = |n: usize| format!("{:03}-stays", n * 10);
        for n in 0..40 {
            cluster.put(&stays(n), 1).await.unwrap();
        }
        let (mut found, mut after) = (Vec::new(), String::new());
        for round in 0.. {
            let listed = page(&mut cluster, delimiter, after.clone()).await;
            found.extend(listed.entries.into_iter().map(|entry| match entry.entry.unwrap() {
                Entry::Object(object) => object.key,
                Entry::CommonPrefix(prefix) => prefix,
            }));
            let Some(next) = listed.next_after else { break };
            after = next;
            for n in 0..40 {
                // Around the names that stay, in folders and not; some go again, the page's last one among them.
                let comes =
                    [format!("{:03}-{round}", n * 10 + 5), format!("{:03}/{round}", n * 10)];
                for name in comes {
                    cluster.put(&name, 0).await.unwrap();
                    if (n + round) % 3 == 0 {
                        cluster.delete(&name).await.unwrap();
                    }
                }
                // Replaced: the name is there all the time.
                if n % 7 == round % 7 {
                    cluster.put(&stays(n), 2).await.unwrap();
                }
            }
            if !after.ends_with("stays") && !after.ends_with('/') {
                cluster.delete(&after).await.ok();
            }
        }
        assert!(found.is_sorted_by(|a, b| a < b), "in order, and nothing twice: {found:?}");
        let stayed: Vec<_> = found.into_iter().filter(|name| name.ends_with("stays")).collect();
        assert_eq!(stayed, (0..40).map(stays).collect::<Vec<_>>());
    }
}
