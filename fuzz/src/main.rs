//! One parser under libFuzzer: `FUZZ_TARGET` names it, or asks with `FUZZ_SEEDS=DIRECTORY` for the files to begin from.
#![no_main]
#![allow(missing_docs)]

use std::{env, fs, path::Path, process, sync::LazyLock};

use targets::{TARGETS, Target};

#[path = "../../signing/tests/parsers/targets.rs"]
mod targets;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == wanted).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("FUZZ_TARGET is {wanted:?}; it is one of: {}", names.join(" "));
        process::exit(2)
    })
});

/// Writes every target's seeds into a directory of its name, then ends.
fn seeds(directory: &Path) {
    for target in TARGETS {
        let own = directory.join(target.name);
        fs::create_dir_all(&own).expect("the directory of seeds can be made");
        for (at, seed) in (target.seeds)().iter().enumerate() {
            fs::write(own.join(format!("seed-{at}")), seed).expect("a seed can be written");
        }
        println!("{}", target.name);
    }
    process::exit(0)
}

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(directory) = env::var_os("FUZZ_SEEDS") {
            seeds(Path::new(&directory));
        }
        LazyLock::force(&TARGET);
    },
    |bytes: &[u8]| (TARGET.check)(bytes)
);
