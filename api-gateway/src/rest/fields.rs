//! What the headers of requests and answers mean.

use super::operation::{Field, Shape};

pub(super) const REQUEST_ID: Field = Field {
    name: "X-Request-Id",
    about: "The id under which all services log the request: 1 to 64 of `a-z A-Z 0-9 - _ .`. One that a \
            request does not bring, or that breaks the rule, is drawn.",
    shape: Shape::Text,
};

/// A field of entity tags.
const fn tags(name: &'static str, about: &'static str) -> Field {
    let shape = Shape::Pattern(r#"^(\*|((W/)?"[^"]*"( *, *(W/)?"[^"]*")*)?)$"#);
    Field { name, about, shape }
}

// Conditions (RFC 9110, section 13).
pub(super) const IF_MATCH: Field =
    tags("If-Match", "The file must have one of these entity tags; `*`: must exist. Else 412.");
pub(super) const IF_NONE_MATCH_WRITE: Field = tags(
    "If-None-Match",
    "The file must have none of these entity tags; `*`: must not exist. Else 412.",
);
pub(super) const IF_NONE_MATCH_READ: Field =
    tags("If-None-Match", "304 when the file has one of these entity tags; `*`: when it exists.");
pub(super) const IF_UNMODIFIED_SINCE: Field = Field::text(
    "If-Unmodified-Since",
    "The file must not be younger than this HTTP date. Else 412. Not heeded beside `If-Match`.",
);
pub(super) const IF_MODIFIED_SINCE: Field = Field::text(
    "If-Modified-Since",
    "304 when the file is not younger than this HTTP date. Not heeded beside `If-None-Match`.",
);
pub(super) const RANGE: Field = Field::text(
    "Range",
    "`bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH`; up to 16 of them with commas between, which are \
     sent as `multipart/byteranges`. Another unit is ignored.",
);
pub(super) const IF_RANGE: Field = Field::text(
    "If-Range",
    "`Range` counts only when the file has this entity tag; a date never matches.",
);

// What is stored.
pub(super) const EXPECT: Field = Field {
    name: "Expect",
    about: "`100-continue`: a refusal comes before the body is sent. Other expectations are not heeded.",
    shape: Shape::Text,
};
pub(super) const REPR_DIGEST_WRITE: Field = Field::text(
    "Repr-Digest",
    "`sha-256=:BASE64:` (RFC 9530): the body must have this SHA-256. Else 400, and nothing is stored. Other \
     algorithms are not checked.",
);
pub(super) const META: Field = Field::text(
    "Cairn-Meta-NAME",
    "A word about the file, for any NAME: kept, and given back by GET and HEAD. Up to 2 KiB of names and \
     values, with `Content-Type`.",
);

pub(super) const CAIRN_CHUNKING: Field = Field {
    name: "Cairn-Chunking",
    about: "`equal(N)`: cut into N equal parts, 1 to 1,000,000, the last with the remainder; a file with fewer bytes \
            than parts is one part. Needs `Content-Length`; no part may be larger than 64 MiB. Else 400. Without it the \
            file is cut as the cluster does.",
    shape: Shape::Pattern(r"^equal\([0-9]+\)$"),
};

// How copies are written and read.
pub(super) const CAIRN_WRITE: Field = Field {
    name: "Cairn-Write",
    about: "How copies are written: `parallel` (the default), `parallel; fail_fast`, `parallel; quorum=N` or `sequential`. \
            Else 400. Without it they are written as the bucket says.",
    shape: Shape::Pattern("^(sequential|parallel(; ?(all|fail_fast|quorum=[1-8]))?)$"),
};
pub(super) const CAIRN_READ: Field = Field {
    name: "Cairn-Read",
    about: "How copies are read: `hedged` (the default), `ordered` or `race`. Else 400. Without it they are read as the \
            bucket says.",
    shape: Shape::OneOf(&["hedged", "ordered", "race"]),
};
pub(super) const CAIRN_WAIT: Field = Field {
    name: "Cairn-Wait",
    about: "Seconds, 1 to 60: while there is no file of this name and an upload of it is open, the answer waits for its \
            end. With `; replaced` also when the file exists, for the uploads that are open now. Else 400.",
    shape: Shape::Pattern("^[0-9]+(; ?replaced)?$"),
};
pub(super) const CAIRN_DURABILITY: Field = Field {
    name: "Cairn-Durability",
    about: "`copies=N; zones=M`, either or both: what the file must have at least when it is acknowledged, more than the \
            bucket asks for included. Where that cannot be had, 503; where nobody can have it, 400.",
    shape: Shape::Pattern("^(copies|zones)=[0-9]+(; ?(copies|zones)=[0-9]+)?$"),
};
/// With a stored file.
pub(super) const WRITE_TIMING: Field = timing(
    "The nodes that hold copies, at most 16: `node;desc=\"ID\";dur=MS`, the longest time from the last byte of a chunk to \
     the node's receipt. Absent for an empty file.",
);
/// With a file that is read.
pub(super) const READ_TIMING: Field = timing(
    "The node that served the first bytes: `node;desc=\"ID\";dur=MS`, the time until they were there and proven. Absent \
     when there are none.",
);

const fn timing(about: &'static str) -> Field {
    const ONE: &str =
        "^node;desc=\"[0-9a-f-]+\";dur=[0-9.]+(, node;desc=\"[0-9a-f-]+\";dur=[0-9.]+)*$";
    Field { name: "Server-Timing", about, shape: Shape::Pattern(ONE) }
}

// What is known of a file.
pub(super) const ETAG: Field = Field {
    name: "ETag",
    about: "Opaque; changes with the content.",
    shape: Shape::Pattern("^\"[^\"]+\"$"),
};
pub(super) const LAST_MODIFIED: Field = Field::text("Last-Modified", "When it was committed.");
pub(super) const REPR_DIGEST: Field = Field {
    name: "Repr-Digest",
    about: "SHA-256 of the whole file (RFC 9530).",
    shape: Shape::Pattern("^sha-256=:[A-Za-z0-9+/]{43}=:$"),
};
pub(super) const CAIRN_ROOT: Field = Field {
    name: "Cairn-Root",
    about: "BLAKE3 over the list of (length as 8 bytes big-endian, BLAKE3 of the chunk), in hex.",
    shape: Shape::Pattern("^[0-9a-f]{64}$"),
};
pub(super) const CAIRN_CHUNKS: Field = Field {
    name: "Cairn-Chunks",
    about: "The lengths of the chunks, in order, with which `Cairn-Root` can be checked: `LENGTH` or `LENGTH;n=COUNT` \
            for a run of equal ones, with commas between. Absent for a file made of more than 64 runs.",
    shape: Shape::Pattern("^([0-9]+(;n=[0-9]+)?(, [0-9]+(;n=[0-9]+)?)*)?$"),
};
pub(super) const RECEIPT: Field = Field {
    name: "Cairn-Receipt",
    about: "What the acknowledgement means: the least number of fsynced copies of any chunk, the copies wanted where that \
            is more (the others are being made), nodes that hold copies, least number of zones of any chunk, copies of the \
            metadata.",
    shape: Shape::Pattern(
        "^copies=[0-9]+; (wanted=[0-9]+; )?hosts=[0-9]+; zones=[0-9]+; meta=[0-9]+; synced$",
    ),
};
pub(super) const ACCEPT_RANGES: Field =
    Field { name: "Accept-Ranges", about: "The unit of `Range`.", shape: Shape::OneOf(&["bytes"]) };
pub(super) const NO_SNIFFING: Field = Field {
    name: "X-Content-Type-Options",
    about: "Browsers must not guess another type.",
    shape: Shape::OneOf(&["nosniff"]),
};
pub(super) const CONTENT_LENGTH: Field =
    Field { name: "Content-Length", about: "Bytes of the body.", shape: Shape::Number(0, None) };
pub(super) const SERVED_BY: Field = Field::text(
    "Cairn-Served-By",
    "The node that served the first byte; absent when there is none.",
);
pub(super) const CONTENT_RANGE: Field = Field::text(
    "Content-Range",
    "`bytes FIRST-LAST/LENGTH`; absent when several ranges are sent. With 416: `bytes */LENGTH`.",
);

// Of problems.
pub(super) const RETRY_AFTER: Field = Field {
    name: "Retry-After",
    about: "Seconds after which to try again.",
    shape: Shape::Number(0, None),
};
