//! Buckets over HTTP.

mod change;
mod create;
mod delete;
mod json;
mod list;
mod show;

use axum::body::{Body, to_bytes};
use bytes::Bytes;

use super::problem::{Kind, Problem};

pub(super) use change::CHANGE;
pub(super) use create::CREATE;
pub(super) use delete::DELETE;
pub(super) use list::LIST;
pub(super) use show::SHOW;

/// Largest body of settings.
const MAX_BODY_BYTES: usize = 64 << 10;

/// The whole body, which is small.
async fn whole(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, MAX_BODY_BYTES).await.map_err(|error| {
        let detail = format!("the settings did not arrive whole: send up to 64 KiB; {error}");
        Problem::new(Kind::InvalidRequest, detail)
    })
}
