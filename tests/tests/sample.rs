//! A population and samples of it, by the program: frozen, drawn by a seed, packed, verified alone by both programs, and drawn again by a
//! shell.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tests::{
    program::{Place, files, text, verifier},
    recipes::Auditor,
};

const CONTROL: &str = "AC-16";

/// `evidenced verify` and `evidenced-verify`: the exit code and the output, which must be the same.
fn both(place: &Place, package: &str, root: &str) -> (i32, String) {
    let arguments = [package, "--trust", root];
    let own = place.run([&["verify"], arguments.as_slice()].concat());
    let alone = Command::new(verifier()).args(arguments).current_dir(place.path()).output().unwrap();
    assert_eq!(text(&own.stdout), text(&alone.stdout), "{}", text(&alone.stderr));
    assert_eq!(own.status.code(), alone.status.code());
    (own.status.code().unwrap(), text(&own.stdout))
}

struct World {
    place: Place,
    root: String,
    control: String,
    kind: String,
}

/// This host's accounts, read once; a control that they are behind.
fn world() -> World {
    let place = Place::new();
    place.expect(0, ["collect", "host/accounts"]);
    let root = place.root();
    let shown: Value = serde_json::from_str(&place.expect(0, ["show", "./evidence", "--json"])).unwrap();
    assert!(shown["size"].as_u64().unwrap() >= 3, "{shown}");
    World { place, root, control: CONTROL.to_owned(), kind: "account".to_owned() }
}

impl World {
    fn with<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let period = ["./evidence", "--trust", &self.root, "--from", "2026-01-01", "--to", "2099-12-31"];
        [&[command], period.as_slice(), more].concat()
    }

    fn items<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let what = ["--control", &self.control, "--population", "items", "--kind", &self.kind];
        self.with(command, &[what.as_slice(), more].concat())
    }
}

/// A seed that a shell would take apart, were it not quoted.
const SEED: &str = "the auditor's $6 dice: 3 1 4 1 5 6";

/// What the package's own guide draws, by a shell alone.
fn by_the_guide(package: &Path) -> String {
    let guide = fs::read_to_string(package.join("README.txt")).unwrap();
    let block = guide.split_once("Draw again, in a shell, in this directory:\n").unwrap().1;
    let lines: Vec<&str> = block.lines().take_while(|line| line.starts_with("  ")).collect();
    let output = Command::new("sh").args(["-euc", &lines.join("\n")]).current_dir(package).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_sample_of_items_is_drawn_again_by_a_shell_verifies_alone_and_shows_what_was_dropped() {
    let world = world();
    let list = world.place.expect(0, world.items("population", &["--output", "list.jsonl"]));
    assert!(list.contains("frozen     no"), "{list}");
    let header: Value = serde_json::from_slice(&read(&world.place, "list.jsonl.header.json")).unwrap();
    let count = header["population"]["count"].as_u64().unwrap();
    assert_eq!(text(&read(&world.place, "list.jsonl")).lines().count() as u64, count);
    assert!(count > 5, "{header}");
    // Neither is written over; and it is not frozen.
    world.place.expect(0, world.items("population", &["--output", "list.jsonl"]));
    fs::write(world.place.path().join("other.jsonl"), "other").unwrap();
    world.place.expect(2, world.items("population", &["--output", "other.jsonl"]));
    world.place.expect(1, world.items("population", &["--check"]));

    let draw = ["--size", "4", "--seed", SEED, "--output"];
    let said = world.place.expect(0, world.items("sample", &[draw.as_slice(), &["four"]].concat()));
    assert!(said.contains("sample     4 items"), "{said}");
    world.place.expect(0, world.items("sample", &[draw.as_slice(), &["four"]].concat()));
    world.place.expect(0, world.items("sample", &[draw.as_slice(), &["four.zip"]].concat()));
    let (code, said) = both(&world.place, "four.zip", &world.root);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("SAMPLE INTACT") && said.contains("(limit SAMPLE-NOT-FROZEN)"), "{said}");
    assert!(said.contains(SEED), "{said}");
    assert_eq!(both(&world.place, "four", &world.root), (0, said));

    let package = world.place.path().join("four");
    let auditor = Auditor::new(world.place.path(), &package, &world.root);
    let auditor = auditor.with("PACKAGE", &package).with("SEED", SEED).with("SIZE", "4");
    let drawn = auditor.accepts("AUDITORS.md", "draw");
    let ids: Vec<String> =
        drawn.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string()).collect();
    let sample: Value = serde_json::from_slice(&read(&world.place, "four/sample.json")).unwrap();
    let packed: Vec<String> =
        sample["items"].as_array().unwrap().iter().map(|item| item["item"]["id"].to_string()).collect();
    assert_eq!(ids, packed);
    assert_eq!(by_the_guide(&package), drawn);

    let mut dropped = sample.clone();
    dropped["items"].as_array_mut().unwrap().remove(1);
    fs::write(package.join("sample.json"), dropped.to_string()).unwrap();
    let (code, said) = both(&world.place, "four", &world.root);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("(finding SAMPLE-DRAW)"), "{said}");
    fs::write(package.join("sample.json"), sample.to_string()).unwrap();
    let bundle = files(&package.join("bundle")).remove(0);
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[100] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let (code, said) = both(&world.place, "four", &world.root);
    assert!(code == 1 && said.contains("(finding BUNDLE-DIGEST)"), "{said}");
}

#[test]
fn sizes_come_from_the_auditors_table_ids_from_a_file_and_a_first_draw_stays() {
    let world = world();
    let table = tests::program::workspace().join("docs/sampling-example.csv");
    let table = table.to_str().unwrap();
    let seeded = |more: &[&str]| world.place.expect(0, world.items("sample", &[&["--seed", "7"], more].concat()));
    let said = seeded(&["--table", table, "--stratify", "job", "--output", "by-table.zip"]);
    assert!(
        said.contains("25 items were asked for; these are all that there are") || said.contains("25 items"),
        "{said}"
    );
    assert_eq!(both(&world.place, "by-table.zip", &world.root).0, 0);
    seeded(&["--size", "3", "--output", "first.zip"]);
    seeded(&["--size", "5", "--interim", "first.zip", "--output", "second.zip"]);
    let (code, said) = both(&world.place, "second.zip", &world.root);
    assert_eq!(code, 0, "{said}");
    seeded(&["--size", "5", "--stratify", "name", "--output", "strata.zip"]);
    assert!(both(&world.place, "strata.zip", &world.root).1.contains("(limit SAMPLE-STRATA)"));

    let id = |id: &str| fs::write(world.place.path().join("ids"), format!("{id}\n")).unwrap();
    world.place.expect(0, world.items("population", &["--output", "list.jsonl"]));
    let first: Value = serde_json::from_str(text(&read(&world.place, "list.jsonl")).lines().next().unwrap()).unwrap();
    id(first["id"].as_str().unwrap());
    world.place.expect(0, world.items("sample", &["--ids", "ids", "--output", "named.zip"]));
    assert_eq!(both(&world.place, "named.zip", &world.root).0, 0);
    id("host/accounts@this nobody of this name");
    let refused = world.place.run(world.items("sample", &["--ids", "ids", "--output", "none.zip"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("nobody of this name"), "{}", text(&refused.stderr));
    assert!(!world.place.path().join("none.zip").exists());
}

#[test]
fn a_period_that_is_over_is_frozen_once_and_follows_again_from_what_the_log_held() {
    let world = world();
    let archive = world.place.path().join("evidence");
    let past = |command: &str, more: &[&str]| {
        let period = ["--trust", &world.root, "--from", "2026-10-01", "--to", "2026-10-31"];
        let words: Vec<String> =
            [&[command, "./evidence"], period.as_slice(), more].concat().into_iter().map(str::to_owned).collect();
        words
    };
    let open = world.place.run(world.with("population", &["--freeze"]));
    assert!(text(&open.stderr).contains("the period is not over"), "{}", text(&open.stderr));
    world.place.expect(1, past("population", &["--control", &world.control, "--check"]));
    let said = world.place.expect(0, past("population", &["--freeze"]));
    // A day of each job that is behind the control.
    let own = said.lines().find_map(|line| line.trim().strip_prefix(&format!("{}: ", world.control))).unwrap();
    let count: u64 = own.split(' ').next().unwrap().parse().unwrap();
    assert!(said.contains("is frozen") && count > 0 && count.is_multiple_of(31), "{said}");
    let again = world.place.expect(0, past("population", &["--freeze"]));
    assert!(again.contains("was frozen before, in entry"), "{again}");
    world.place.expect(0, ["collect", "host/accounts"]);
    let checked = world.place.expect(0, past("population", &["--control", &world.control, "--check"]));
    assert!(checked.contains("it follows again"), "{checked}");
    assert!(checked.contains(&format!("{count} of {count} occurrences were not observed")), "{checked}");
    let verdict = world.place.expect(0, ["verify", "./evidence", "--trust", &world.root]);
    assert!(!verdict.contains("DOCUMENT-KIND"), "{verdict}");

    let draw = ["--control", &world.control, "--size", "5", "--seed", "2", "--output", "frozen.zip"];
    world.place.expect(0, past("sample", &draw));
    fs::rename(&archive, world.place.path().join("away")).unwrap();
    let (code, said) = both(&world.place, "frozen.zip", &world.root);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("frozen in entry") && said.contains("of 5 the log holds nothing"), "{said}");
}

fn read(place: &Place, name: impl AsRef<Path>) -> Vec<u8> {
    fs::read(place.path().join(name)).unwrap()
}
