//! Container images: built once per content, kept in the cache, put on the nodes.
//!
//!   our programs   cargo build --release, static ──► FROM scratch, user 65532
//!   the DNS server from the local cluster's cache ─► the same
//!   the peers      Debian packages by mmdebstrap ──► one image for all of them
//!
//! A tag is the hash of what is in the image, so an image that changed has another name and no node mixes them up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::kubectl::{Failure, Outcome};
use crate::place;
use crate::shell::Shell;

/// One image: its name with tag, and the archive that holds it.
#[derive(Clone, Debug)]
pub struct Image {
    /// `localhost/NAME`.
    pub repository: String,
    /// The hash of its content.
    pub tag: String,
    /// The docker archive.
    pub archive: PathBuf,
}

impl Image {
    /// The name that a pod uses.
    pub fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// Size of the archive in octets, about that of the image.
    pub fn size(&self) -> u64 {
        std::fs::metadata(&self.archive).map_or(0, |file| file.len())
    }
}

/// The two images of the product.
#[derive(Clone, Debug)]
pub struct Product {
    /// The operator.
    pub operator: Image,
    /// The mail server.
    pub mta: Image,
    /// The mail server's program, which runs on this computer as well.
    pub mta_program: PathBuf,
}

/// Builds both programs as static release binaries, and their images.
pub fn product() -> Outcome<Product> {
    built(&[], "")
}

/// The same as a version that reads one format of the spool more.
pub fn next_product() -> Outcome<Product> {
    let features = "postroad-spool/next-format,postroad-config/next-format";
    let product = built(&["--features", features], "-next-format");
    // The programs have one place for both; the next run must not find these there.
    built(&[], "")?;
    product
}

/// The stand-ins of providers, for the stories that play with them: the image, and the program itself.
pub fn providers() -> Outcome<(Image, PathBuf)> {
    // There already, where the product was built.
    compile(&[])?;
    let program = binaries().join("postroad-providers");
    Ok((
        of_program(&program, "localhost/postroad-test-providers")?,
        program,
    ))
}

/// The operator's program as it is released.
pub fn operator() -> Outcome<PathBuf> {
    // With the mail server, as the stories want both: what they share is compiled once.
    compile(&[])?;
    Ok(binaries().join("postroad-operator"))
}

fn binaries() -> PathBuf {
    place::target().join(TRIPLE).join("release")
}

/// Builds the programs of the product and the stand-ins, as static release binaries. `more`: arguments of cargo.
fn compile(more: &[&str]) -> Outcome {
    let args = [
        "build",
        "--release",
        "--locked",
        "--target",
        TRIPLE,
        "-p",
        "postroad-operator",
        "-p",
        "postroad-mta",
        // Always beside them: what they share is compiled once, and is the same whichever story comes first.
        "-p",
        "postroad-providers",
    ];
    Shell::new(place::cargo())
        .args(args)
        .args(more)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .dir(&place::tree())
        .limit(Duration::from_hours(1))
        .echo()
        .run()?;
    Ok(())
}

fn built(features: &[&str], suffix: &str) -> Outcome<Product> {
    let binaries = binaries();
    if !binaries.join("postroad-mta").exists() {
        eprintln!("    a release build of everything, once: about 10 minutes on two cores");
    }
    compile(features)?;
    let image = |name: &str| of_program(&binaries.join(name), &format!("localhost/{name}{suffix}"));
    Ok(Product {
        operator: image("postroad-operator")?,
        mta: image("postroad-mta")?,
        mta_program: binaries.join("postroad-mta"),
    })
}

/// The mail server once more under another name: a newer image, as far as the cluster can tell.
pub fn next_mta(product: &Product) -> Outcome<Image> {
    of_program(&product.mta_program, "localhost/postroad-mta-next")
}

/// The DNS server as the authoritative server of made-up domains.
pub fn dns(cluster: &Cluster) -> Outcome<Image> {
    of_program(&cluster.coredns()?, "localhost/postroad-test-dns")
}

/// The mail programs that are not ours.
pub fn peers() -> Outcome<Image> {
    let script = place::tree().join("e2e/peers/build.sh");
    cached("localhost/postroad-test-peers", &script, |image| {
        eprintln!("    from Debian's packages, once: a minute or two");
        let shell = Shell::new(&script).args([image.archive.as_os_str(), image.name().as_ref()]);
        shell.limit(Duration::from_mins(20)).run().map(drop)
    })
}

fn of_program(program: &Path, repository: &str) -> Outcome<Image> {
    cached(repository, program, |image| {
        let script = place::tree().join("e2e/cluster/image.sh");
        let name = image.name();
        Shell::new(script)
            .args([name.as_ref(), image.archive.as_os_str(), program.as_os_str()])
            .run()
            .map(drop)
    })
}

/// The image made from that file: from the cache if the file did not change, otherwise made and kept.
fn cached(
    repository: &str,
    source: &Path,
    make: impl FnOnce(&Image) -> Result<(), crate::shell::ShellError>,
) -> Outcome<Image> {
    let sum = Shell::new("sha256sum").args([source]).read()?;
    let tag = sum
        .get(..16)
        .ok_or_else(|| Failure::wrong("sha256sum gave no hash"))?
        .to_owned();
    let short = repository.rsplit('/').next().unwrap_or(repository);
    let folder = place::cache().join("images");
    std::fs::create_dir_all(&folder)?;
    let archive = folder.join(format!("{short}-{tag}.tar"));
    let image = Image {
        repository: repository.to_owned(),
        tag,
        archive,
    };
    if !image.archive.exists() {
        eprintln!("    {short} is made");
        // Made beside its place, so that a run that was interrupted leaves nothing that looks whole.
        let unfinished = Image {
            archive: folder.join(format!("{short}-{}.part", std::process::id())),
            ..image.clone()
        };
        make(&unfinished)?;
        forget_older(&folder, short)?;
        std::fs::rename(&unfinished.archive, &image.archive)?;
    }
    Ok(image)
}

/// Deletes the older images of that name: they are of no use once their source changed.
fn forget_older(folder: &Path, short: &str) -> Outcome {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_tag = |rest: &str| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let rest = name.strip_prefix(short).and_then(|rest| rest.strip_prefix('-'));
        if rest
            .and_then(|rest| rest.strip_suffix(".tar"))
            .is_some_and(is_tag)
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
