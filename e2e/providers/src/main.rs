//! Stand-ins of mail providers: fourteen SMTP services and two token endpoints in one program, each as its provider documents it.
//!
//! ```text
//!   stand      what each provider says and takes (data)     customer, keys   what they gave to log in with
//!   session    the dialogue of SMTP ──► sasl, world         tokens ──► jwt   who gets a token
//!   net        sockets, TLS                                 control          orders: over quota, down, renewed …
//! ```
//!
//! Nothing of the product is used here, so that an error in its tables is seen. Credentials are recorded as they were said: they are
//! made up at each start and worth nothing.

mod control;
mod customer;
mod jwt;
mod keys;
mod net;
mod sasl;
mod session;
mod stand;
mod tokens;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::customer::Customer;
use crate::keys::Failed;
use crate::world::World;

/// Stand-ins of mail providers.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays all providers.
    Serve {
        /// The customer's domain.
        #[arg(long)]
        domain: String,
        /// The ServiceAccount whose tokens one application of Entra trusts: `system:serviceaccount:NAMESPACE:NAME`.
        #[arg(long)]
        subject: String,
    },
    /// Gives an order, as JSON, to the stand-ins of this pod.
    Ask {
        /// The order.
        order: String,
    },
    /// Prints hosts and ports as JSON.
    Places,
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::Serve { domain, subject } => {
            let world: &'static World = Box::leak(Box::new(World::new(Customer::new(&domain, &subject)?)));
            net::play(world)?;
            // It is ready when orders are taken.
            control::serve(world)
        }
        Command::Ask { order } => {
            print!("{}", control::ask(&order)?);
            Ok(())
        }
        Command::Places => {
            println!("{}", control::places());
            Ok(())
        }
    }
}
