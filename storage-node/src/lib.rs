//! The storage node: keeps chunks and proves them intact
