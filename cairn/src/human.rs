//! Numbers, times and tables as people read them.

use crate::client::error::printable;

/// Bytes with a unit of 1024.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut divisor = 1024_u64;
    // A tenth of rounding must not show 1024.0 of a unit.
    while unit + 1 < UNITS.len() && count >= divisor * 1024 - divisor / 20 {
        divisor *= 1024;
        unit += 1;
    }
    let tenths = (u128::from(count) * 10 + u128::from(divisor / 2)) / u128::from(divisor);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Bytes with a unit, or to the byte.
pub(crate) fn bytes_as(count: u64, exact: bool) -> String {
    if exact { count.to_string() } else { bytes(count) }
}

/// Which side of a column its cells lean on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows under a head, each column as wide as its widest cell, two spaces between.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{cells:?}");
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The lines, the head first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let head = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |nth: usize| all.iter().map(|row| row[nth].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |row: &&Vec<String>| {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells = cells.map(|((cell, (_, side)), &width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_and_one_digit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(20 << 20), "20.0 MiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(bytes_as(1536, true), "1536");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("NAME", Side::Left), ("BYTES", Side::Right)]);
        table.row(vec!["a".to_owned(), "7".to_owned()]);
        table.row(vec!["größer".to_owned(), "123456".to_owned()]);
        assert_eq!(table.lines(), ["NAME     BYTES", "a            7", "größer  123456"]);
    }

    #[test]
    fn a_table_without_rows_is_its_head() {
        assert_eq!(Table::new(&[("NAME", Side::Left)]).lines(), ["NAME"]);
    }
}
