//! Where the catalogs of a run are: in files, or in databases of a PostgreSQL that the run starts.

use cairn_test_postgres::Server;

/// Says `postgres` to have every catalog in a database of its own: `cargo xtask show postgres`.
const STORE: &str = "CAIRN_TEST_STORE";

/// Where one catalog is.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// In the master's folder.
    File,
    /// In the database of this URL.
    Database(String),
}

impl Store {
    /// What this run is told: a file, or a new database.
    pub(crate) fn of_this_run() -> Self {
        match std::env::var(STORE).as_deref() {
            Err(_) | Ok("redb") => Self::File,
            Ok("postgres") => {
                let server = Server::shared().expect("PostgreSQL, which this run asks for");
                Self::Database(server.new_database())
            }
            Ok(other) => panic!("{STORE}={other}: say redb or postgres"),
        }
    }

    /// The options of the master.
    pub(crate) fn flags(&self) -> Vec<String> {
        match self {
            Self::File => Vec::new(),
            Self::Database(url) => vec!["--store".to_owned(), url.clone()],
        }
    }
}
