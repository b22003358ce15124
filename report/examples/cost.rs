//! Does one thing with an archive, for measuring: `cost verify|report|export ORIGIN_DIRECTORY TRUST FROM TO`. `report` and `export` verify
//! first: the one makes the report of these days and writes it as JSON, the other writes the whole archive as Parquet, into files below
//! TMPDIR that are gone at the end. tests/peers/report_cost.py runs it.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    fs::File,
    io::{BufWriter, Write as _},
};

use report::{
    Ledger, export,
    period::{Asked, Question, report},
};
use signing::{
    store::Dir,
    verify::{Options, verify},
};

const USAGE: &str = "cost verify|report|export ORIGIN_DIRECTORY TRUST FROM TO";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, origin, trust, from, to] = words.as_slice() else { panic!("{USAGE}") };
    let reader = Dir::new(origin);
    let options = Options::trusting(trust.as_str());
    let verdict = verify(&reader, &options, &|_| {}).unwrap();
    println!("{}", verdict.statement);
    match what.as_str() {
        "verify" => {}
        "report" => {
            let question = Question {
                asked: Asked::Period { from: from.parse().unwrap(), to: to.parse().unwrap(), as_of: None },
                frameworks: None,
                program: "cost".into(),
            };
            let ledger = Ledger::new(&reader, &verdict).unwrap();
            let made = report(&ledger, &question, &mut ()).unwrap();
            let mut out = BufWriter::new(tempfile::tempfile().unwrap());
            serde_json::to_writer(&mut out, &made).unwrap();
            out.flush().unwrap();
            let required: u64 = made.controls.iter().map(|control| control.counts.required).sum();
            println!("{required} occurrences, {} deviations", made.deviations.len());
        }
        "export" => {
            let scratch = tempfile::tempdir().unwrap();
            let ledger = Ledger::new(&reader, &verdict).unwrap();
            let made = export::parquet(&ledger, &export::Wanted::default(), &mut |name| {
                let path = scratch.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap())?;
                Ok(Box::new(BufWriter::new(File::create_new(path)?)))
            });
            let made = made.unwrap();
            println!("{} rows in {} files", made.rows.values().sum::<u64>(), made.files);
        }
        _ => panic!("{USAGE}"),
    }
}
