//! The wire contract `cairn.v1`: generated code, and the one place where wire types become domain types.
//!
//! Services read a request with [`convert`] first thing and work with domain types from there on; a field that
//! does not fit is an [`InvalidField`] that names it. Errors travel as [`tonic::Status`] with an
//! [`v1::ErrorDetail`], made by [`error::refuse`] and read by [`error::RemoteError`].

pub mod codec;
pub mod convert;
pub mod error;
pub mod meta;

pub use convert::InvalidField;
pub use error::{Reason, RemoteError, WireError};

/// Generated from `proto/cairn/v1/*.proto`; the docs are the comments there.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("cairn.v1");
}

/// The serialized `FileDescriptorSet` of `cairn.v1`, with comments: for reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cairn.v1.bin"));

/// Largest message that a service accepts or sends: a frame of data with its checksums, or a page of a list.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Largest message of `MetaJournal`: a record of the journal at its longest.
pub const MAX_META_MESSAGE_BYTES: usize = 28 << 20;
/// Largest run of chunk or file bytes in one message.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Metadata key that carries the request id.
pub const REQUEST_ID: &str = "x-request-id";

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{DescriptorProto, FileDescriptorSet, SourceCodeInfo};

    fn documented(info: &SourceCodeInfo, path: &[i32]) -> bool {
        info.location.iter().any(|l| l.path == path && !l.leading_comments().trim().is_empty())
    }

    fn undocumented_fields(
        info: &SourceCodeInfo,
        path: &[i32],
        name: &str,
        message: &DescriptorProto,
        missing: &mut Vec<String>,
    ) {
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            return;
        }
        for (at, field) in (0..).zip(&message.field) {
            if !documented(info, &[path, &[2, at]].concat()) {
                missing.push(format!("{name}.{}", field.name()));
            }
        }
        for (at, nested) in (0..).zip(&message.nested_type) {
            let name = format!("{name}.{}", nested.name());
            undocumented_fields(info, &[path, &[3, at]].concat(), &name, nested, missing);
        }
    }

    /// The codec tells by the name whether it reads a request.
    #[test]
    fn messages_that_are_asked_are_named_requests_and_no_answer_is() {
        let set = FileDescriptorSet::decode(super::DESCRIPTORS).expect("our own descriptors");
        let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|of| &of.method);
        for method in methods {
            assert!(method.input_type().ends_with(super::codec::REQUEST), "{method:?}");
            assert!(!method.output_type().ends_with(super::codec::REQUEST), "{method:?}");
        }
    }

    #[test]
    fn every_field_method_and_enum_value_is_documented() {
        let set = FileDescriptorSet::decode(super::DESCRIPTORS).expect("our own descriptors");
        let mut missing = Vec::new();
        let mut files = 0;
        for file in set.file.iter().filter(|file| file.package() == "cairn.v1") {
            files += 1;
            let info = file.source_code_info.as_ref().expect("comments are kept");
            for (at, message) in (0..).zip(&file.message_type) {
                undocumented_fields(info, &[4, at], message.name(), message, &mut missing);
            }
            for (at, of) in (0..).zip(&file.enum_type) {
                for (nth, value) in (0..).zip(&of.value) {
                    if !documented(info, &[5, at, 2, nth]) {
                        missing.push(format!("{}.{}", of.name(), value.name()));
                    }
                }
            }
            for (at, service) in (0..).zip(&file.service) {
                for (nth, method) in (0..).zip(&service.method) {
                    if !documented(info, &[6, at, 2, nth]) {
                        missing.push(format!("{}.{}", service.name(), method.name()));
                    }
                }
            }
        }
        assert_eq!(files, 7, "all files of cairn.v1 are looked at");
        assert!(missing.is_empty(), "no comment on {missing:?}");
    }
}
