//! Every seed and every past crash, as plain tests without a fuzzer: none of them may fail again.

#![allow(missing_docs)]

use std::path::Path;

use postroad_fuzz::TARGETS;

fn replay(folder: &str, least: usize) {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
        let mut count = 0;
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = file.expect("a file").path();
            println!("{}", path.display());
            target(&std::fs::read(&path).expect("a readable file"));
            count += 1;
        }
        assert!(count >= least, "{} has {count} files", folder.display());
    }
}

#[test]
fn seeds_hold() {
    replay("seeds", 2);
}

#[test]
fn past_crashes_hold() {
    replay("regressions", 0);
}
