//! `cairn completions` and `cairn man`: written from the command line's own definition.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, CommandFactory, ValueHint};
use clap_complete::Shell;

use crate::args::Args;
use crate::client::error::ClientError;
use crate::client::output::write_out;

/// Options of `cairn completions`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "\
Examples:
  cairn completions bash > ~/.local/share/bash-completion/completions/cairn
  cairn completions zsh > ~/.zfunc/_cairn
  cairn completions fish > ~/.config/fish/completions/cairn.fish")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

/// Options of `cairn man`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Man {
    /// Where to; made when it is not there
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

pub(crate) fn completions(args: &Completions) -> Result<(), ClientError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "cairn", &mut script);
    write_out(&script)
}

pub(crate) fn man(args: &Man) -> Result<(), ClientError> {
    let written = |dir: &Path| {
        fs::create_dir_all(dir)?;
        clap_mangen::generate_to(Args::command(), dir)
    };
    written(&args.dir).map_err(|error| {
        ClientError::failed(format!("write man pages to {}", args.dir.display()), error)
    })
}
