//! `cairn admin meta status` and `cairn admin meta release-sweep`.

use cairn_proto::v1::{GetMetaStatusRequest, GetMetaStatusResponse, ReleaseSweepRequest};
use serde::Serialize;

use crate::admin::args::Show;
use crate::admin::{Operator, id};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Keeper<'a> {
    node: String,
    address: &'a str,
    sequence: u64,
    journal_bytes: u64,
    backup_bytes: u64,
    problem: &'a str,
}

#[derive(Serialize)]
struct Status<'a> {
    copies: u32,
    committed: u64,
    durable: u64,
    problem: &'a str,
    keepers: Vec<Keeper<'a>>,
    sweep_waits: Option<&'a str>,
}

fn status(told: &GetMetaStatusResponse) -> Status<'_> {
    let keepers = told.keepers.iter().map(|keeper| Keeper {
        node: id(&keeper.node_id),
        address: &keeper.address,
        sequence: keeper.sequence,
        journal_bytes: keeper.journal_bytes,
        backup_bytes: keeper.backup_bytes,
        problem: &keeper.problem,
    });
    Status {
        copies: told.copies,
        committed: told.committed,
        durable: told.durable,
        problem: &told.problem,
        keepers: keepers.collect(),
        sweep_waits: told.hold.as_ref().map(|hold| hold.reason.as_str()),
    }
}

pub(super) async fn run(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let mut calls = operator.calls.clone();
    let call = calls.get_meta_status(GetMetaStatusRequest {});
    let told = operator.answer("show the state of the metadata", call).await?;
    let status = status(&told);
    if show.json {
        return operator.output.json(&status);
    }
    if status.copies == 0 {
        operator.output.line("no journal on nodes: the catalog is in the master's store alone")?;
    } else {
        let Status { copies, committed, durable, problem, .. } = &status;
        let well = if problem.is_empty() { "all is well" } else { problem };
        let text = format!(
            "changes are on {copies} nodes before they are acknowledged: {durable} of {committed}; {well}"
        );
        operator.output.line(&text)?;
        let (left, right) = (Side::Left, Side::Right);
        let mut table = Table::new(&[
            ("NODE", left),
            ("UP TO", right),
            ("RECORDS", right),
            ("BACKUP", right),
            ("ADDRESS", left),
            ("PROBLEM", left),
        ]);
        for keeper in &status.keepers {
            table.row(vec![
                keeper.node.clone(),
                keeper.sequence.to_string(),
                bytes_as(keeper.journal_bytes, show.bytes),
                bytes_as(keeper.backup_bytes, show.bytes),
                keeper.address.to_owned(),
                keeper.problem.to_owned(),
            ]);
        }
        operator.table(&table)?;
    }
    match status.sweep_waits {
        Some(reason) => operator.output.line(&format!("the sweep waits for you: {reason}")),
        None => Ok(()),
    }
}

pub(super) async fn release(operator: &Operator) -> Result<(), ClientError> {
    let mut calls = operator.calls.clone();
    let call = calls.release_sweep(ReleaseSweepRequest {});
    let answer = operator.answer("let the sweep go on", call).await?;
    operator.output.line(match answer.released {
        true => "the sweep goes on",
        false => "the sweep was not waiting",
    })
}
