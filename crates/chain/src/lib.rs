//! Chunk stores of a storage node
