//! Valid requests of every call, made from the descriptors: so a call that is added later is covered as well. What a
//! field holds is told by its name; ids are of uploads, versions and nodes that the master knows, where there are some.

use std::collections::BTreeMap;

use cairn_proto::DESCRIPTORS;
use prost::Message;
use prost::encoding::encode_varint;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::harness::Draw;

/// Services whose calls are made.
const SERVICES: [&str; 3] = ["Master", "Admin", "Buckets"];
/// Ids of a kind that are remembered.
const REMEMBERED: usize = 32;
/// What files hold: one chunk.
pub(super) const LENGTH: u64 = 100;

/// A call, and the message that it takes.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) service: String,
    pub(super) method: String,
    input: String,
}

impl Call {
    pub(super) fn path(&self) -> String {
        format!("/cairn.v1.{}/{}", self.service, self.method)
    }
}

/// What the master is known to know.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// With their blobs.
    pub(super) uploads: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) versions: Vec<Vec<u8>>,
    /// With their disks.
    pub(super) nodes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Known {
    pub(super) fn add_upload(&mut self, upload: Vec<u8>, blob: Vec<u8>) {
        remember(&mut self.uploads, (upload, blob));
    }

    pub(super) fn add_version(&mut self, version: Vec<u8>) {
        remember(&mut self.versions, version);
    }
}

fn remember<T>(kept: &mut Vec<T>, new: T) {
    if kept.len() == REMEMBERED {
        kept.remove(0);
    }
    kept.push(new);
}

/// Every message of `cairn.v1`.
#[derive(Debug)]
pub(super) struct Messages {
    by_name: BTreeMap<String, DescriptorProto>,
    pub(super) calls: Vec<Call>,
}

impl Messages {
    pub(super) fn read() -> Self {
        let set = FileDescriptorSet::decode(DESCRIPTORS).expect("our own descriptors");
        let (mut by_name, mut calls) = (BTreeMap::new(), Vec::new());
        for file in set.file.iter().filter(|file| file.package() == "cairn.v1") {
            for message in &file.message_type {
                add_message(&mut by_name, ".cairn.v1", message);
            }
            for service in file.service.iter().filter(|of| SERVICES.contains(&of.name())) {
                calls.extend(service.method.iter().map(|method| Call {
                    service: service.name().to_owned(),
                    method: method.name().to_owned(),
                    input: method.input_type().to_owned(),
                }));
            }
        }
        Self { by_name, calls }
    }
}

fn add_message(
    by_name: &mut BTreeMap<String, DescriptorProto>,
    within: &str,
    message: &DescriptorProto,
) {
    let name = format!("{within}.{}", message.name());
    for nested in &message.nested_type {
        add_message(by_name, &name, nested);
    }
    by_name.insert(name, message.clone());
}

/// A request in the making.
pub(super) struct Maker<'a> {
    messages: &'a Messages,
    draw: &'a mut Draw,
    nodes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The next node that a receipt names.
    node: usize,
    pub(super) upload: Vec<u8>,
    blob: Vec<u8>,
    version: Vec<u8>,
    /// Whether a bucket is to go: then it is not the one that all others use.
    removes: bool,
}

impl<'a> Maker<'a> {
    pub(super) fn new(messages: &'a Messages, draw: &'a mut Draw, known: &Known) -> Self {
        let (upload, blob) = match chosen(draw, &known.uploads) {
            Some(known) if draw.below(3) > 0 => known,
            _ => (id(draw), id(draw)),
        };
        let version = chosen(draw, &known.versions).unwrap_or_else(|| id(draw));
        let node = draw.below(8) as usize;
        let nodes = known.nodes.clone();
        Self { messages, draw, nodes, node, upload, blob, version, removes: false }
    }

    /// The request of a call, encoded.
    pub(super) fn request(&mut self, call: &Call) -> Vec<u8> {
        if call.method == "BeginUpload" && self.draw.below(3) > 0 {
            self.upload = id(self.draw);
        }
        self.removes = matches!(call.method.as_str(), "RemoveBucket" | "Delete");
        self.message(&call.input)
    }

    fn message(&mut self, name: &str) -> Vec<u8> {
        let messages = self.messages;
        let message = messages.by_name.get(name).unwrap_or_else(|| panic!("no message {name}"));
        let mut encoded = Vec::new();
        for field in &message.field {
            for _ in 0..self.times(field) {
                self.field(field, &mut encoded);
            }
        }
        encoded
    }

    /// How often a field is there.
    fn times(&mut self, field: &FieldDescriptorProto) -> u64 {
        let name = field.name();
        match field.label() {
            // Receipts, and the copies that they name, are as many as make a file.
            Label::Repeated if name == "copies" => 2,
            Label::Repeated if name == "receipts" => 1,
            Label::Repeated => self.draw.below(3),
            _ if matches!(name, "bytes" | "objects" | "quota_bytes" | "quota_objects") => {
                u64::from(self.draw.below(20) == 0)
            }
            // Most are for themselves, and under no condition.
            _ if matches!(name, "caller" | "principal" | "condition") => {
                u64::from(self.draw.below(6) == 0)
            }
            _ if name == "durability" && field.r#type() == Type::Message => {
                u64::from(self.draw.below(6) == 0)
            }
            _ if field.proto3_optional() => u64::from(self.draw.below(2) > 0),
            _ if field.r#type() == Type::Message => u64::from(self.draw.below(8) > 0),
            _ => 1,
        }
    }

    fn field(&mut self, field: &FieldDescriptorProto, encoded: &mut Vec<u8>) {
        let name = field.name();
        let number = u64::try_from(field.number()).expect("field numbers are positive") << 3;
        let bytes = match field.r#type() {
            Type::Message => self.message(field.type_name()),
            Type::String => self.text(name).into_bytes(),
            Type::Bytes => self.bytes(name),
            Type::Bool | Type::Enum | Type::Uint32 | Type::Uint64 => {
                encode_varint(number, encoded);
                encode_varint(self.number(field), encoded);
                return;
            }
            other => panic!("no request has a {other:?} yet: {name}"),
        };
        encode_varint(number | 2, encoded);
        encode_varint(bytes.len() as u64, encoded);
        encoded.extend(bytes);
    }

    fn number(&mut self, field: &FieldDescriptorProto) -> u64 {
        match (field.r#type(), field.name()) {
            // Most receipts come before the commit.
            (Type::Bool, "late") => u64::from(self.draw.below(8) == 0),
            (Type::Bool, _) => self.draw.below(2),
            (Type::Enum, _) => 1 + self.draw.below(3),
            (_, "length" | "received") => LENGTH,
            (_, "index") => u64::from(self.draw.below(8) == 0),
            (_, "copies" | "least_copies" | "zones") => 2,
            (_, "capacity") => 1 << 40,
            (_, "offset" | "used") => 0,
            _ => self.draw.below(10),
        }
    }

    fn text(&mut self, name: &str) -> String {
        let below = |draw: &mut Draw, texts: &[&str]| {
            texts[draw.below(texts.len() as u64) as usize].to_owned()
        };
        let draw = &mut *self.draw;
        match name {
            "bucket" if self.removes => below(draw, &["photos", "photos", "absent"]),
            "bucket" => below(draw, &["default", "default", "default", "photos", "absent"]),
            "name" => below(draw, &["default", "photos"]),
            "key" => format!("k{}", draw.below(4)),
            "prefix" | "after" => below(draw, &["", "", "k", "k3"]),
            "delimiter" => below(draw, &["", "/"]),
            "tenant" => below(draw, &["", "", "", "", "default", "other"]),
            "user" => below(draw, &["", "", "", "someone"]),
            "address" => "http://127.0.0.1:9".to_owned(),
            "zone" => format!("zone-{}", draw.below(3)),
            "write" => below(draw, &["", "", "sequential", "parallel; quorum=1"]),
            "read" => below(draw, &["", "", "race"]),
            "fields" => below(draw, &["copies", "zones", "retention_seconds", "quota_bytes"]),
            _ => below(draw, &["", "text/plain", "x"]),
        }
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        match name {
            "upload_id" => self.upload.clone(),
            "blob_id" => self.blob.clone(),
            "version_id" => self.version.clone(),
            "hash" | "root" => vec![7; 32],
            "node_id" => {
                self.node += 1;
                self.node().0
            }
            "disk" => self.node().1,
            "holders" | "failed" => self.node().0,
            // What most callers leave out.
            "catalog_id" | "after" | "sha256" | "idempotency_key" if self.draw.below(8) > 0 => {
                Vec::new()
            }
            _ => id(self.draw),
        }
    }

    fn node(&mut self) -> (Vec<u8>, Vec<u8>) {
        match self.nodes.get(self.node % self.nodes.len().max(1)) {
            Some(known) => known.clone(),
            None => (id(self.draw), id(self.draw)),
        }
    }
}

fn chosen<T: Clone>(draw: &mut Draw, from: &[T]) -> Option<T> {
    from.get(draw.below(from.len().max(1) as u64) as usize).cloned()
}

pub(super) fn id(draw: &mut Draw) -> Vec<u8> {
    (0..16).map(|_| draw.below(256) as u8).collect()
}
