//! Report: readers tell of copies that were missing or wrong. Only copies that the catalog names, and that are to be there, are
//! recorded, so that nobody fills it with findings about nothing.

use cairn_core::copies::CopyReport;
use cairn_core::lifecycle::CopyState;
use cairn_kv::Txn;

use crate::catalog::{Copy, Finding, FindingKey, Page, PageKey, record};
use crate::error::{CatalogError, operation_error};

operation_error! {
    /// Why reports are not taken.
    ReportError {
        Catalog(CatalogError),
    }
}

/// Records findings; the number recorded.
pub(crate) fn report(txn: &mut Txn<'_>, reports: &[CopyReport]) -> Result<usize, ReportError> {
    let mut recorded = 0;
    for CopyReport { chunk, node, finding } in reports {
        let page = record::get::<Page>(txn, &PageKey::of(chunk.blob, chunk.index))?;
        let live = |copy: &Copy| copy.node == *node && copy.state == CopyState::Live;
        let named = page
            .and_then(|mut page| page.chunks.remove(&chunk.index))
            .is_some_and(|entry| entry.copies.iter().any(live));
        if named {
            let key = FindingKey { chunk: *chunk, node: *node };
            record::put(txn, &key, &Finding(*finding))?;
            recorded += 1;
        }
    }
    Ok(recorded)
}
