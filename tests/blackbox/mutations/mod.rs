//! Requests to the master that nobody means: mutated in their bytes, their fields and their frames. Each is answered, and
//! the master lives on with books that add up.

mod messages;
mod mutate;
mod wire;

use std::collections::BTreeMap;

use cairn_chunk_master::audit;
use cairn_core::bucket::Setting;
use cairn_kv::{Kv, RedbConfig};
use cairn_proto::{MAX_MESSAGE_BYTES, v1};
use prost::Message;

use crate::harness::{Draw, Parts, PartsPlan, Process, Store, peak_mib};
use messages::{Call, Known, LENGTH, Maker, Messages};
use wire::{Answer, Wire};

/// What the master may need, whatever it is asked.
const MOST_MIB: u64 = 256;
/// One in so many calls of the sweep and of fsck is made: they ask nodes, some of which were never there.
const SWEEPS: u64 = 50;

/// Ways to all services.
struct Ways {
    master: Wire,
    admin: Wire,
    gateway: Wire,
}

impl Ways {
    async fn to(parts: &Parts) -> Self {
        Self {
            master: Wire::to(parts.master_address()).await,
            admin: Wire::to(parts.edge.admin).await,
            gateway: Wire::to(parts.edge.gateway).await,
        }
    }

    fn of(&mut self, call: &Call) -> &mut Wire {
        match call.service.as_str() {
            "Master" => &mut self.master,
            "Admin" => &mut self.admin,
            _ => &mut self.gateway,
        }
    }
}

/// Calls that go to all nodes.
fn asks_nodes(method: &str) -> bool {
    ["Sweep", "Fsck"].contains(&method)
}

/// After so many requests it is told how far they are.
const TOLD: u64 = 10_000;
/// After so many mutations there are files again.
const FED: u64 = 10;
/// Bytes that are shown of a message with a wrong answer.
const SHOWN_BYTES: usize = 400;

/// How often what was answered.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    refused: BTreeMap<String, u64>,
    badly_framed: BTreeMap<String, u64>,
    /// Calls that succeeded at least once.
    reached: BTreeMap<String, u64>,
}

struct Mutations {
    messages: Messages,
    draw: Draw,
    known: Known,
    ways: Ways,
    tally: Tally,
}

impl Mutations {
    async fn at(parts: &Parts) -> Self {
        let mut known = Known::default();
        for node in parts.edge.admin().await.nodes().await {
            for disk in node.status.unwrap_or_default().disks {
                known.nodes.push((node.node_id.to_vec(), disk.disk.to_vec()));
            }
        }
        Self {
            messages: Messages::read(),
            draw: Draw::new(17),
            known,
            ways: Ways::to(parts).await,
            tally: Tally::default(),
        }
    }

    fn call(&mut self) -> Call {
        loop {
            let calls = &self.messages.calls;
            let call = &calls[self.draw.below(calls.len() as u64) as usize];
            if !asks_nodes(&call.method) || self.draw.below(SWEEPS) == 0 {
                return call.clone();
            }
        }
    }

    /// Makes a request, spoils it, sends it, and judges the answer.
    async fn one(&mut self) {
        let (call, other) = (self.call(), self.call());
        let other = Maker::new(&self.messages, &mut self.draw, &self.known).request(&other);
        let mut maker = Maker::new(&self.messages, &mut self.draw, &self.known);
        let valid = maker.request(&call);
        let upload = maker.upload;
        let message = mutate::message(&mut self.draw, valid, &other);
        let spoils_frame = self.draw.below(20) == 0;
        let body = if spoils_frame {
            mutate::badly_framed(&mut self.draw, &message)
        } else {
            mutate::framed(&message)
        };
        // A message that is too long is refused by its frame.
        let is_framed = !spoils_frame && message.len() <= MAX_MESSAGE_BYTES;
        let answer = self.ways.of(&call).ask(&call.path(), body).await;
        match answer {
            Answer::Done(answer) => {
                self.tally.done += 1;
                *self.tally.reached.entry(call.path()).or_default() += 1;
                self.learn(&call, upload, &answer);
            }
            Answer::Refused(reason) => {
                *self.tally.refused.entry(format!("{reason:?}")).or_default() += 1;
            }
            Answer::Untyped(code, _) if !is_framed => {
                *self.tally.badly_framed.entry(format!("{code:?}")).or_default() += 1;
            }
            Answer::Broken(_) if !is_framed => {
                *self.tally.badly_framed.entry("broken".to_owned()).or_default() += 1;
            }
            wrong => {
                let shown = &message[..message.len().min(SHOWN_BYTES)];
                panic!("{} answers {wrong:?} to {shown:02x?}", call.path())
            }
        }
    }

    /// Valid requests, after which there are a file, a deleted one and open uploads again, whatever became of those
    /// before them. Refusals are for the mutations to see: what they did may be in the way.
    async fn feed(&mut self) {
        let bucket = "default".to_owned();
        let make = v1::MakeBucketRequest { bucket: bucket.clone(), ..Default::default() };
        let _made: v1::MakeBucketResponse = self.valid("MakeBucket", &make).await;
        let reset = v1::ChangeBucketRequest {
            bucket: bucket.clone(),
            settings: Some(v1::BucketSettings::default()),
            fields: Setting::ALL.map(|setting| setting.name().to_owned()).to_vec(),
            caller: None,
        };
        let _reset: v1::ChangeBucketResponse = self.valid("ChangeBucket", &reset).await;
        self.lift_limits(&bucket).await;
        for is_deleted in [true, false] {
            let key = format!("k{}", self.draw.below(4));
            self.store(&bucket, &key).await;
            if is_deleted {
                let delete =
                    v1::DeleteObjectRequest { bucket: bucket.clone(), key, ..Default::default() };
                let _gone: v1::DeleteObjectResponse = self.valid("DeleteObject", &delete).await;
            }
        }
        for key in ["k0", "k1"] {
            let upload_id = messages::id(&mut self.draw);
            self.begin(&bucket, key, &upload_id).await;
        }
    }

    /// Near a limit each begin waits for a while, and everything takes long.
    async fn lift_limits(&mut self, bucket: &str) {
        for kind in [v1::ScopeKind::Tenant, v1::ScopeKind::User] {
            let scope = v1::Scope { kind: kind.into(), name: bucket.to_owned(), ..<_>::default() };
            let limits = Some(v1::Limits::default());
            let lift = v1::SetQuotaRequest { scope: Some(scope), limits };
            let body = mutate::framed(&lift.encode_to_vec());
            let answer = self.ways.admin.ask("/cairn.v1.Admin/SetQuota", body).await;
            assert!(matches!(answer, Answer::Done(_) | Answer::Refused(_)), "{answer:?}");
        }
    }

    async fn begin(&mut self, bucket: &str, key: &str, upload_id: &[u8]) -> Vec<u8> {
        let begin = v1::BeginUploadRequest {
            upload_id: upload_id.to_vec().into(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            length: Some(LENGTH),
            ..Default::default()
        };
        let begun: v1::BeginUploadResponse = self.valid("BeginUpload", &begin).await;
        let blob = begun.blob_id.to_vec();
        if !blob.is_empty() {
            self.known.add_upload(upload_id.to_vec(), blob.clone());
        }
        blob
    }

    async fn store(&mut self, bucket: &str, key: &str) {
        let upload_id = messages::id(&mut self.draw);
        let blob = self.begin(bucket, key, &upload_id).await;
        let copies = self.known.nodes.iter().map(|(node, disk)| v1::CopyReceipt {
            node_id: node.clone().into(),
            disk: disk.clone().into(),
        });
        let receipt = v1::ChunkReceipt {
            index: 0,
            length: LENGTH,
            hash: vec![7; 32].into(),
            copies: copies.collect(),
        };
        let commit = v1::CommitUploadRequest {
            upload_id: upload_id.into(),
            blob_id: blob.into(),
            receipts: vec![receipt],
            length: LENGTH,
            root: vec![9; 32].into(),
            ..Default::default()
        };
        let committed: v1::CommitUploadResponse = self.valid("CommitUpload", &commit).await;
        if let Some(object) = committed.object {
            self.known.add_version(object.version_id.to_vec());
        }
    }

    /// Sends a request as it is; an empty answer where it is refused.
    async fn valid<A: Message + Default>(&mut self, method: &str, request: &impl Message) -> A {
        let body = mutate::framed(&request.encode_to_vec());
        match self.ways.master.ask(&format!("/cairn.v1.Master/{method}"), body).await {
            Answer::Done(answer) => A::decode(answer).expect("an answer of its kind"),
            Answer::Refused(_) => A::default(),
            wrong => panic!("{method} answers {wrong:?}"),
        }
    }

    /// Remembers what was made, so that later requests are about it.
    fn learn(&mut self, call: &Call, upload: Vec<u8>, answer: &[u8]) {
        match call.method.as_str() {
            "BeginUpload" => {
                if let Ok(begun) = v1::BeginUploadResponse::decode(answer) {
                    self.known.add_upload(upload, begun.blob_id.to_vec());
                }
            }
            "CommitUpload" => {
                let committed = v1::CommitUploadResponse::decode(answer).unwrap_or_default();
                let object = committed.object.unwrap_or_default();
                self.known.add_version(object.version_id.to_vec());
            }
            _ => {}
        }
    }
}

/// Sends so many requests; then everything is alive, small and consistent.
pub(crate) async fn send_mutated_requests(count: u64) {
    // Mutated registrations lead nodes away from where they are, and the journal with them.
    let plan = PartsPlan::new(2, 2).chunk_size(64 << 10).master_flag("--meta-copies", 0);
    let mut parts = plan.on(Store::File).start().await;
    let mut mutations = Mutations::at(&parts).await;
    for nth in 0..count {
        if nth % FED == 0 {
            mutations.feed().await;
        }
        mutations.one().await;
        if (nth + 1) % TOLD == 0 {
            eprintln!("{} requests, {} MiB", nth + 1, peak_mib(parts.master(0)));
        }
    }
    let Mutations { tally, messages, .. } = mutations;
    let peak = peak_mib(parts.master(0));
    eprintln!("{count} requests to {} calls, peak {peak} MiB: {tally:#?}", messages.calls.len());
    assert!(peak < MOST_MIB, "{peak} MiB");
    let never = messages.calls.iter().filter(|call| !tally.reached.contains_key(&call.path()));
    let never: Vec<_> = never.filter(|call| !asks_nodes(&call.method)).map(Call::path).collect();
    let few = never.len() * 5 < messages.calls.len();
    assert!(few, "no request of these was good enough to be done: {never:?}");
    books_add_up(&mut parts).await;
}

/// The processes live, and all records of the catalog agree.
async fn books_add_up(parts: &mut Parts) {
    let admin = format!("http://{}", parts.edge.admin);
    let verify = ["admin", "usage", "--verify", "--admin-url", &admin];
    let (code, stdout, stderr) = Process::run(&verify).await;
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let codes = parts.terminate_all().await;
    assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
    let kv = Kv::redb(parts.catalog_file(), RedbConfig::default()).expect("the catalog opens");
    let found = audit(&kv).await.expect("an audit");
    kv.close().await.expect("it closes");
    assert_eq!(found.contradictions, Vec::<String>::new());
}

#[tokio::test]
async fn mutated_requests_are_answered_with_reasons_and_do_no_harm() {
    send_mutated_requests(5_000).await;
}
