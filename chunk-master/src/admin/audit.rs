//! AuditUsage: the counters of quotas beside what the records add up to.

use cairn_kv::Snapshot;
use cairn_proto::v1;
use tonic::Status;

use super::quota::tell_scope;
use crate::audit::usage::{Difference, Pot, audit};
use crate::error::{CatalogError, operation_error};
use crate::master::Master;

operation_error! {
    /// Why there is no audit.
    AuditError {
        Catalog(CatalogError),
    }
}

pub(super) async fn audit_usage(master: &Master) -> Result<v1::AuditUsageResponse, Status> {
    let closure = |view: &Snapshot<'_>| Ok::<_, AuditError>(audit(view)?);
    let found = master.view(closure).await?;
    let count = found.differences.len();
    if count > 0 {
        tracing::error!(target: "cairn", count, "counters of quotas are not what the files add up to");
    }
    Ok(v1::AuditUsageResponse {
        accounts: found.accounts,
        versions: found.versions,
        uploads: found.uploads,
        differences: found.differences.iter().map(tell).collect(),
        more_differences: found.more_differences,
    })
}

fn tell(difference: &Difference) -> v1::UsageDifference {
    let pot = match difference.pot {
        Pot::Used => v1::UsagePot::Used,
        Pot::Reserved => v1::UsagePot::Reserved,
        Pot::Condemned => v1::UsagePot::Condemned,
    };
    v1::UsageDifference {
        scope: Some(tell_scope(&difference.scope)),
        pot: pot.into(),
        counted_bytes: difference.counted.bytes,
        counted_objects: difference.counted.objects,
        summed_bytes: difference.summed.bytes,
        summed_objects: difference.summed.objects,
    }
}
