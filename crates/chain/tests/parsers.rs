//! Files that are damaged, cut or forged: whoever reads them neither panics, nor asks for memory by what they say, nor lets
//! other bytes out than were stored. Many cases, each from its seed:
//!
//! ```text
//! CAIRN_PARSER_CASES=1000000 cargo test --profile ci -p cairn-chain --all-features --test parsers
//! CAIRN_SEED=77 …                the cases from this seed on
//! ```

use cairn_runtime::Entropy;

mod parsers {
    mod files;
    mod identity;
    mod journal;
    pub(super) mod mutate;
    mod segments;
    pub(super) mod watch;
}

/// Cases of all parsers together.
const CASES: u64 = 20_000;
/// The first seed.
const SEED: u64 = 1;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().expect("a number"))
}

/// The seeds of a parser that has `share` hundredths of the cases, each with what replays it.
fn cases(share: u64) -> impl Iterator<Item = (Entropy, String)> {
    let seed = number("CAIRN_SEED", SEED);
    let count = (number("CAIRN_PARSER_CASES", CASES) * share / 100).max(1);
    (seed..seed.saturating_add(count)).map(|seed| {
        let when = format!("CAIRN_SEED={seed} CAIRN_PARSER_CASES=1");
        (Entropy::seeded(seed), when)
    })
}
