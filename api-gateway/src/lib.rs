//! The gateway: HTTP and gRPC in, chunks out
