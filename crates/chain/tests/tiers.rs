//! Chains of tiers and the wrappers: what they do to the stores in them, over disks in memory.

mod tiers {
    mod behind;
    mod conformance;
    mod gate;
    mod lru;
    mod promote;
    mod read;
    mod remove;
    mod scenarios;
    mod setup;
    mod spread;
    mod wrappers;
    mod write;
}
