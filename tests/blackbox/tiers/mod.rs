//! Nodes whose files describe tiers: the same files come back from every store and through every wrapper.

mod descriptions;
mod faults;
mod stores;

use cairn_test_s3::Server;
use serde_json::Value;

use crate::harness::{Content, Parts, PartsPlan, Process, hex};

/// Two nodes, each with a copy of every chunk.
async fn two_nodes(tiers: &str) -> Parts {
    PartsPlan::new(2, 2).chunk_size(1 << 20).node_file(tiers).start().await
}

/// A store in a bucket of its own, with a prefix for each node.
async fn bucket(server: &Server, more: &str) -> String {
    format!(
        "store = {{ kind = 'bucket', capacity = '1 GiB', prefix = 'node-{{node}}', {more}
                    bucket = {{ provider = 's3', name = '{}', endpoint = '{}', region = 'us-east-1',
                                allow-http = true, credentials = {{ static = {{
                                    access-key-id = 'id', secret-access-key = 'secret' }} }} }} }}\n",
        server.new_bucket().await,
        server.endpoint()
    )
}

/// The lines of a command for operators, and its exit code.
async fn admin(parts: &Parts, command: &str) -> (Vec<Value>, Option<i32>) {
    let url = format!("http://{}", parts.edge.admin);
    let (code, out, _) = Process::run(&["admin", command, "--json", "--admin-url", &url]).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).expect("an object"));
    (lines.collect(), code)
}

/// Files of `lengths`, each with its name.
fn files(lengths: &[u64]) -> Vec<(String, Content)> {
    let file = |(n, length): (u64, &u64)| (format!("/v1/files/f/{n}"), Content::new(n, *length));
    (0..).zip(lengths).map(file).collect()
}

async fn put_all(parts: &Parts, files: &[(String, Content)]) {
    for (path, content) in files {
        let stored = parts.edge.http().put(path, *content).await;
        assert!([200, 201].contains(&stored.status), "{path}: {}", stored.text());
    }
}

async fn all_come_back(parts: &Parts, files: &[(String, Content)]) {
    for (path, content) in files {
        let (length, sha256) = parts.edge.http().request("GET", path).send().await.digest().await;
        assert_eq!((length, hex(&sha256)), (content.length, hex(&content.sha256())), "{path}");
    }
}
