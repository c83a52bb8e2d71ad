//! `cairn cat`: a file to standard output.

use super::args::{Cat, Telling};
use super::error::{ClientError, Kind};
use super::get::fetch::fetch;
use super::output::write_out;
use super::proof::InOrder;
use super::remote::{Version, stat};
use super::{Client, block_on, names};

pub(crate) fn run(args: &Cat) -> Result<(), ClientError> {
    block_on(async {
        let client = Client::open(&args.connection, Telling { quiet: true, json: false }, 1)?;
        let doing = format!("cat {}", args.key);
        let key = names::key(&doing, args.key.as_str())?;
        let version = Version::of(&doing, stat(&client, &doing, &key).await?)?;
        let proof = version.proof.clone().filter(|_| !args.no_verify);
        let mut arrived = proof.as_ref().map(InOrder::for_proof);
        fetch(&client, &doing, &version, 0..version.length, async |bytes| {
            if let Some(arrived) = &mut arrived {
                arrived.update(&bytes);
            }
            write_out(&bytes)
        })
        .await?;
        let problem = match (proof, arrived) {
            _ if args.no_verify => return Ok(()),
            (Some(proof), Some(arrived)) => match proof.check(&arrived.finish()) {
                Ok(()) => return Ok(()),
                Err(differs) => format!("what was written is not what was stored: {differs}"),
            },
            _ => "the server tells nothing to compare this file with".to_owned(),
        };
        Err(ClientError::new(Kind::Mismatch, &doing, problem).advise("do not use what was written"))
    })
}
