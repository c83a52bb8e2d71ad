//! The start of a body whose length is not announced: up to one chunk is taken in before anything is asked of the
//! master, because a body that ends there has a known length and costs one `BeginUpload`.

use bytes::Bytes;

use super::body::BodyReader;
use super::error::UploadError;

/// What the start of a body turned out to be.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The bytes so far.
    pub(super) pieces: Vec<Bytes>,
    /// Their number.
    pub(super) bytes: u64,
    /// Whether that was all.
    pub(super) ended: bool,
}

/// Takes in up to `limit` bytes; what arrives in the same piece comes along.
pub(super) async fn gather(body: &mut BodyReader, limit: u64) -> Result<Gathered, UploadError> {
    let mut gathered = Gathered { pieces: Vec::new(), bytes: 0, ended: false };
    while gathered.bytes < limit {
        match body.next().await? {
            Some(piece) => {
                gathered.bytes += piece.len() as u64;
                gathered.pieces.push(piece);
            }
            None => {
                gathered.ended = true;
                break;
            }
        }
    }
    Ok(gathered)
}
