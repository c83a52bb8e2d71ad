//! `cairn admin fsck`: catalog and nodes compared both ways.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_proto::v1::{
    FsckDifference, FsckKind, FsckOutcome, FsckRequest, FsckResponse, FsckUnchecked,
};
use serde::Serialize;
use tonic::Streaming;

use super::args::Fsck;
use super::{Operator, id};
use crate::client::error::{ClientError, Kind, printable};

const DOING: &str = "fsck";
/// Longest wait for one step. All accounts are added up in one, which takes seconds for each million of versions.
const STEP_BOUND: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct Difference<'a> {
    kind: &'static str,
    what: &'a str,
    outcome: &'static str,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<String>,
}

#[derive(Serialize)]
struct Unchecked<'a> {
    not_checked: &'a str,
    why: &'a str,
}

/// What the whole walk came to: the last line.
#[derive(Debug, Default, Serialize)]
struct Sum {
    records: u64,
    copies: u64,
    mended: u64,
    /// Differences that are left, by kind.
    left: BTreeMap<&'static str, u64>,
    not_checked: u64,
}

fn kind(kind: FsckKind) -> &'static str {
    match kind {
        FsckKind::Damaged => "damaged record",
        FsckKind::Dangling => "dangling record",
        FsckKind::Index => "wrong index",
        FsckKind::Contradiction => "contradiction",
        FsckKind::Account => "wrong account",
        FsckKind::MissingCopy => "missing copy",
        FsckKind::ReplacedDisk => "replaced disk",
        FsckKind::WrongLength => "wrong length",
        FsckKind::Orphan => "orphan",
        FsckKind::Stray => "stray copy",
        FsckKind::Unspecified => "difference",
    }
}

fn outcome(outcome: FsckOutcome) -> &'static str {
    match outcome {
        FsckOutcome::Would => "would",
        FsckOutcome::Mended => "mended",
        FsckOutcome::Refused => "refused",
        FsckOutcome::Left | FsckOutcome::Unspecified => "left",
    }
}

pub(super) async fn run(operator: &Operator, args: &Fsck) -> Result<(), ClientError> {
    let request = FsckRequest { repair: args.repair };
    let mut calls = operator.calls.clone();
    let mut answers = operator.answer(DOING, calls.fsck(request)).await?;
    let mut sum = Sum::default();
    loop {
        let step = next(operator, &mut answers).await?;
        for told in &step.differences {
            difference(operator, args, told, &mut sum)?;
        }
        for told in &step.unchecked {
            sum.not_checked += 1;
            not_checked(operator, args, told)?;
        }
        (sum.records, sum.copies) = (step.records, step.copies);
        if step.done {
            return judge(operator, args, &sum);
        }
    }
}

async fn next(
    operator: &Operator,
    answers: &mut Streaming<FsckResponse>,
) -> Result<FsckResponse, ClientError> {
    let step = operator.clock.timeout(STEP_BOUND, answers.message()).await;
    let step = step.map_err(|elapsed| {
        ClientError::new(Kind::Unreachable, DOING, format!("{}: {elapsed}", operator.url))
    })?;
    let step = step.map_err(|status| operator.refusal(DOING, status))?;
    let ended = || {
        ClientError::new(Kind::Unreachable, DOING, "the master ended it before all was compared")
            .advise("run it again: it begins anew, and what was mended stays so")
    };
    step.ok_or_else(ended)
}

fn difference(
    operator: &Operator,
    args: &Fsck,
    told: &FsckDifference,
    sum: &mut Sum,
) -> Result<(), ClientError> {
    if told.outcome() == FsckOutcome::Mended {
        sum.mended += 1;
    } else {
        *sum.left.entry(kind(told.kind())).or_default() += 1;
    }
    if args.json {
        let chunk = told.chunk.as_ref();
        return operator.output.json(&Difference {
            kind: kind(told.kind()),
            what: &told.what,
            outcome: outcome(told.outcome()),
            action: &told.action,
            node: Some(&told.node_id).filter(|node| !node.is_empty()).map(|node| id(node)),
            chunk: chunk.map(|chunk| format!("{}.{}", id(&chunk.blob_id), chunk.index)),
        });
    }
    let would = if told.outcome() == FsckOutcome::Would { "would " } else { "" };
    let line = format!("{}: {}: {would}{}", kind(told.kind()), told.what, told.action);
    operator.output.line(&printable(&line))
}

fn not_checked(operator: &Operator, args: &Fsck, told: &FsckUnchecked) -> Result<(), ClientError> {
    if args.json {
        return operator.output.json(&Unchecked { not_checked: &told.what, why: &told.why });
    }
    operator.output.line(&printable(&format!("not checked: {}: {}", told.what, told.why)))
}

fn judge(operator: &Operator, args: &Fsck, sum: &Sum) -> Result<(), ClientError> {
    if args.json {
        operator.output.json(sum)?;
    }
    let Sum { records, copies, mended, left, not_checked } = sum;
    let mut said = vec![format!("{records} records and {copies} copies compared")];
    if *mended > 0 {
        said.push(format!("{mended} differences mended"));
    }
    said.extend(left.iter().map(|(kind, count)| format!("{kind}: {count}")));
    if *not_checked > 0 {
        said.push(format!("{not_checked} not checked"));
    }
    let said = said.join(", ");
    if !left.is_empty() {
        let advice = if args.repair {
            "see docs/operations.md, \"fsck\", for what is left"
        } else {
            "cairn admin fsck --repair mends what can be mended; docs/operations.md, \"fsck\", says what each line means"
        };
        return Err(ClientError::new(Kind::Mismatch, DOING, said).advise(advice));
    }
    if *not_checked > 0 {
        let advice = "bring back what could not be asked, and run it again";
        return Err(ClientError::new(Kind::Unchecked, DOING, said).advise(advice));
    }
    if args.json { Ok(()) } else { operator.output.line(&format!("{said}: clean")) }
}
