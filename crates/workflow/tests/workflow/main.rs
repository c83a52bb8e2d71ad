//! Workflows: rows D01 to D31 of `docs/coverage.md`.

mod building;
mod cancelling;
mod concurrent;
mod running;
mod sample;
mod storing;
mod support;
