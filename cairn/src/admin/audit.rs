//! `cairn admin usage --verify`: the counters of quotas beside what versions and uploads add up to.

use cairn_proto::v1::{AuditUsageRequest, AuditUsageResponse, UsageDifference, UsagePot};
use serde::Serialize;

use super::Operator;
use super::args::Show;
use super::usage::Whose;
use crate::client::error::{ClientError, Kind};
use crate::human::{Side, Table, bytes_as};

const DOING: &str = "verify usage";

#[derive(Serialize)]
struct Difference<'a> {
    #[serde(flatten)]
    whose: Whose<'a>,
    pot: &'static str,
    counted_bytes: u64,
    summed_bytes: u64,
    counted_objects: u64,
    summed_objects: u64,
}

fn difference(told: &UsageDifference) -> Option<Difference<'_>> {
    Some(Difference {
        whose: Whose::of(told.scope.as_ref()?)?,
        pot: match told.pot() {
            UsagePot::Used => "used",
            UsagePot::Reserved => "reserved",
            UsagePot::Condemned => "condemned",
            UsagePot::Unspecified => return None,
        },
        counted_bytes: told.counted_bytes,
        summed_bytes: told.summed_bytes,
        counted_objects: told.counted_objects,
        summed_objects: told.summed_objects,
    })
}

pub(super) async fn run(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let mut calls = operator.calls.clone();
    let audit = operator.answer(DOING, calls.audit_usage(AuditUsageRequest {})).await?;
    let differences: Option<Vec<_>> = audit.differences.iter().map(difference).collect();
    let unknown = || ClientError::failed(DOING, "the answer names what this version does not know");
    let differences = differences.ok_or_else(unknown)?;
    if show.json {
        differences.iter().try_for_each(|difference| operator.output.json(difference))?;
    } else if !differences.is_empty() {
        tell(operator, &differences, show.bytes)?;
    }
    judge(operator, show, &audit)
}

fn judge(operator: &Operator, show: &Show, audit: &AuditUsageResponse) -> Result<(), ClientError> {
    let AuditUsageResponse { accounts, versions, uploads, .. } = audit;
    let count = audit.differences.len() as u64 + audit.more_differences;
    let looked_at = format!("{accounts} accounts, {versions} versions, {uploads} open uploads");
    if count > 0 {
        let problem = format!("{count} numbers are not what the files add up to ({looked_at})");
        return Err(ClientError::new(Kind::Mismatch, DOING, problem).advise(
            "keep the output and the master's log, and report it: quotas must never differ",
        ));
    }
    if show.json { Ok(()) } else { operator.output.line(&format!("{looked_at}: all add up")) }
}

fn tell(operator: &Operator, shown: &[Difference<'_>], exact: bool) -> Result<(), ClientError> {
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("KIND", left),
        ("NAME", left),
        ("NUMBER", left),
        ("COUNTED", right),
        ("FILES SAY", right),
        ("OBJECTS", right),
        ("FILES SAY", right),
    ]);
    for one in shown {
        let (kind, name) = one.whose.kind_and_name();
        table.row(vec![
            kind.to_owned(),
            name.to_owned(),
            one.pot.to_owned(),
            bytes_as(one.counted_bytes, exact),
            bytes_as(one.summed_bytes, exact),
            one.counted_objects.to_string(),
            one.summed_objects.to_string(),
        ]);
    }
    operator.table(&table)
}
