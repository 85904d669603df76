//! `cargo interop`: interoperation with mail software that others made. The last line is the count; the exit code is
//! non-zero if anything failed.

use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::interop;

/// Mail to and from other mail servers, from other clients, by DANE with signed zones, our notices to the programs that read notices,
/// and what we sign to those that verify.
#[derive(Parser)]
struct Args {
    /// Only these parts: notices, signatures, filters, dane, peers, dovecot, clients.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| !interop::names().contains(&name.as_str()))
    {
        eprintln!("there is no part `{unknown}`");
        return ExitCode::from(2);
    }
    let count = interop::play(&args.only);
    println!("{count}");
    if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
