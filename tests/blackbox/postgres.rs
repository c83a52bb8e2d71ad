//! A master whose catalog is in PostgreSQL.

use cairn_test_postgres::Server;

use crate::harness::{Content, PartsPlan, Store};

#[tokio::test]
async fn files_outlive_everything_when_the_catalog_is_in_postgres() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    let plan = PartsPlan::new(2, 2).chunk_size(64 << 10).on(Store::Database(url.clone()));
    let mut parts = plan.start().await;
    let contents: Vec<Content> = (0..5).map(|nth| Content::new(nth, nth * 100_000)).collect();
    for (nth, content) in contents.iter().enumerate() {
        let http = parts.edge.http();
        let put = http.request("PUT", &format!("/v1/files/kept/{nth}"));
        assert_eq!(put.content(*content).send().await.status, 201);
    }
    parts.kill_all();
    parts.start_all().await;
    for (nth, content) in contents.iter().enumerate() {
        let http = parts.edge.http();
        let download = http.request("GET", &format!("/v1/files/kept/{nth}")).send().await;
        assert_eq!(download.status, 200);
        assert_eq!(download.digest().await, (content.length, content.sha256()));
    }
    let (_, database) = url.rsplit_once('/').expect("a URL");
    let (database, _) = database.split_once('?').expect("a URL with options");
    assert_eq!(server.sql(database, "SELECT count(*) > 0 FROM cairn.entries"), "t");
}
