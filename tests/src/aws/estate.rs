//! The program reading a seeded estate, and what it sealed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
    process::Output,
    sync::{Mutex, PoisonError},
};

use serde_json::{Map, Value, json};

use super::{AwsWorld, Seeded};
use crate::program::{Place, files, text};

/// A configuration, keys and an archive for the program, which asks with certain credentials.
pub struct Estate {
    place: Place,
    environment: Vec<(&'static str, String)>,
    seen: Mutex<BTreeSet<PathBuf>>,
}

impl Estate {
    /// Reads the seeded accounts and regions as the seeded readers. `aws` changes the source's settings, `whole` those of the configuration.
    pub fn new(world: &AwsWorld, seeded: &Seeded, aws: &Value, whole: &Value) -> Self {
        let place = Place::new();
        let at = |name: &str| place.path().join(name).to_string_lossy().into_owned();
        let mut source = json!({"retry": {"attempts": 2}});
        merge(&mut source, &seeded.source(world));
        merge(&mut source, aws);
        let mut config = json!({
            "origin": "tests.invalid/aws",
            "state_dir": at("state"),
            "archive": {"directory": at("evidence")},
            "signing": {
                "receipts": {"file": at("keys/receipts.pem")},
                "checkpoints": {"file": at("keys/checkpoint.pem")},
                "keys": at("keys/keys.json"),
            },
            "schedule": {"attempts": 1},
            "sources": [{"name": "estate", "aws": source}],
        });
        merge(&mut config, whole);
        // JSON is YAML.
        #[allow(clippy::disallowed_methods)] // scratch
        std::fs::write(place.path().join("evidenced.yaml"), config.to_string()).expect("the configuration is written");
        let estate = Self { place, environment: seeded.collector(), seen: Default::default() };
        estate.expect(0, &["keys", "init", "--dir", "keys", "--origin", "tests.invalid/aws"]);
        estate
    }

    /// The directory that all is in.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.place.command(arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().cloned()).output().expect("the program starts")
    }

    /// Runs it and expects `code`.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstandard output:\n{out}\nstandard error:\n{err}");
        out
    }

    /// `collect`, of these jobs or of all, and what it sealed.
    pub fn collect(&self, arguments: &[&str]) -> Collected {
        let (code, said, bundles) = self.collect_from_all(arguments);
        Collected { code, said, bundles: bundles.into_iter().map(|bundle| (bundle.collector(), bundle)).collect() }
    }

    /// The same where several sources are read: the exit code, both outputs, and each bundle.
    pub fn collect_from_all(&self, arguments: &[&str]) -> (Option<i32>, String, Vec<Bundle>) {
        let output = self.run(&[&["collect"], arguments].concat());
        let mut bundles = Vec::new();
        for path in files(&self.path().join("evidence")) {
            if path.extension().is_some_and(|e| e == "zip")
                && self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone())
            {
                bundles.push(Bundle::open(&path));
            }
        }
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        (output.status.code(), said, bundles)
    }

    /// `verify --deep`, which must find everything intact.
    pub fn verify(&self) {
        let keys: Value =
            serde_json::from_str(&self.expect(0, &["keys", "list", "--json"])).expect("keys list is JSON");
        let root = keys["root"].as_str().expect("it names the root");
        let said = self.expect(0, &["verify", "evidence", "--trust", root, "--deep"]);
        assert!(said.contains("ARCHIVE INTACT"), "{said}");
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// What one `collect` did.
pub struct Collected {
    /// Its exit code.
    pub code: Option<i32>,
    /// Both its outputs.
    pub said: String,
    /// What it sealed, by collector.
    pub bundles: BTreeMap<String, Bundle>,
}

impl Collected {
    /// The bundle of a collector.
    pub fn of(&self, collector: &str) -> &Bundle {
        self.bundles.get(collector).unwrap_or_else(|| panic!("nothing of {collector} was sealed:\n{}", self.said))
    }
}

/// A sealed bundle, read as an auditor would: a ZIP of JSON.
pub struct Bundle {
    /// Every file, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `run.json`.
    pub run: Value,
    /// `results.json`, by check.
    pub checks: BTreeMap<String, Value>,
    /// The records by kind.
    pub records: BTreeMap<String, Vec<Map<String, Value>>>,
    /// `exchanges.jsonl`.
    pub exchanges: Vec<Value>,
}

impl Bundle {
    fn open(path: &Path) -> Self {
        let mut archive =
            zip::ZipArchive::new(std::fs::File::open(path).expect("a bundle opens")).expect("it is a ZIP");
        let mut files = BTreeMap::new();
        for at in 0..archive.len() {
            let mut file = archive.by_index(at).expect("it lists");
            let mut content = Vec::new();
            file.read_to_end(&mut content).expect("it reads");
            let name = file.name().expect("a file has a name").into_owned();
            files.insert(name, content);
        }
        let json = |name: &str| -> Value {
            let content = files.get(name).unwrap_or_else(|| panic!("{} has no {name}", path.display()));
            serde_json::from_slice(content).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let rows = |content: &[u8]| -> Vec<Value> {
            let lines = text(content);
            lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
        };
        let checks = json("results.json")["checks"].as_array().cloned().unwrap_or_default();
        let records = files.iter().filter_map(|(name, content)| {
            let kind = name.strip_prefix("records/")?.strip_suffix(".jsonl")?;
            let records = rows(content).into_iter().map(|row| row.as_object().cloned().expect("a record is an object"));
            Some((kind.to_owned(), records.collect()))
        });
        Self {
            run: json("run.json"),
            checks: checks
                .into_iter()
                .map(|check| (check["id"].as_str().expect("a check has an id").to_owned(), check))
                .collect(),
            records: records.collect(),
            exchanges: files.get("exchanges.jsonl").map(|content| rows(content)).unwrap_or_default(),
            files,
        }
    }

    /// `aws/kms-keys`.
    pub fn collector(&self) -> String {
        self.run["collector"]["id"].as_str().expect("a run names its collector").to_owned()
    }

    /// The source's name.
    pub fn source(&self) -> &str {
        self.run["source"]["name"].as_str().expect("a run names its source")
    }

    /// `collected`, `partial` or `failed`.
    pub fn outcome(&self) -> &str {
        self.run["outcome"].as_str().expect("a run has an outcome")
    }

    /// Its gaps, with the reason where it failed.
    pub fn gaps(&self) -> String {
        format!("{}{}", self.run["gaps"], self.run["reason"].as_str().unwrap_or_default())
    }

    /// The records of a kind.
    pub fn records(&self, kind: &str) -> &[Map<String, Value>] {
        self.records.get(kind).map_or(&[], Vec::as_slice)
    }

    /// How far a kind's records are all there are.
    pub fn population(&self, kind: &str) -> &str {
        self.run["populations"][kind]["state"].as_str().unwrap_or("not named")
    }

    /// The ids of a check's rows that passed, failed or are unknown.
    pub fn rows(&self, check: &str, how: &str) -> BTreeSet<String> {
        let rows = self.checks.get(check).unwrap_or_else(|| panic!("{} has no check {check}", self.collector()));
        let rows = rows["rows"][how].as_array().into_iter().flatten();
        rows.filter_map(|row| row.as_str().or_else(|| row["id"].as_str()).map(str::to_owned)).collect()
    }
}
