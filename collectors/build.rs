//! Lists the definitions, so that one more collector is one more YAML file.

use std::{env, fmt::Write as _, fs, path::Path};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo names the crate's directory");
    let directory = Path::new(&root).join("definitions/aws");
    println!("cargo::rerun-if-changed={}", directory.display());
    let entries = fs::read_dir(&directory).expect("the definitions can be listed");
    let paths = entries.map(|entry| entry.expect("a definition is listed").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    paths.sort();
    let mut list = String::from("&[\n");
    for path in &paths {
        println!("cargo::rerun-if-changed={}", path.display());
        writeln!(list, "    include_str!({:?}),", path.display().to_string()).expect("text is written to memory");
    }
    list.push_str("]\n");
    let out = Path::new(&env::var("OUT_DIR").expect("cargo names the output directory")).join("aws_definitions.rs");
    #[allow(clippy::disallowed_methods, reason = "what is built can be built again")]
    fs::write(out, list).expect("the list is written");
}
