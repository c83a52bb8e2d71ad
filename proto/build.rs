//! Compiles the protos without a `protoc`, and keeps the descriptor set for reflection and tests.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const PROTOS: [&str; 7] = [
    "cairn/v1/common.proto",
    "cairn/v1/buckets.proto",
    "cairn/v1/master.proto",
    "cairn/v1/admin.proto",
    "cairn/v1/chunks.proto",
    "cairn/v1/files.proto",
    "cairn/v1/meta.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("cairn.v1.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::MessageCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
