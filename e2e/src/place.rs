//! Where things are: the tree, the cache outside of it, the build's folder, the cluster's state.

use std::path::PathBuf;

/// The root of the working tree.
pub fn tree() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// What is kept between runs: `$POSTROAD_CACHE`, or `postroad` in the user's cache folder.
pub fn cache() -> PathBuf {
    let given = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    given("POSTROAD_CACHE").unwrap_or_else(|| {
        let caches = given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")));
        caches
            .unwrap_or_else(|| PathBuf::from("/var/cache"))
            .join("postroad")
    })
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree().join("target"), PathBuf::from)
}

/// The cargo that runs us, so that the same toolchain is used for everything.
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
