//! The same program as `version`, as a version of the format behind the newest one: built with `next-format` only.

#[path = "version.rs"]
mod version;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    version::main()
}
