//! Does one thing with an archive, for measuring: `cost verify|report ORIGIN_DIRECTORY TRUST FROM TO`. `report` verifies first,
//! makes the report of these days, and writes it as JSON. tests/peers/report_cost.py runs it.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufWriter, Write as _};

use report::{
    Ledger,
    period::{Asked, Question, report},
};
use signing::{
    store::Dir,
    verify::{Options, verify},
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, origin, trust, from, to] = words.as_slice() else {
        panic!("cost verify|report ORIGIN_DIRECTORY TRUST FROM TO");
    };
    let reader = Dir::new(origin);
    let options = Options::trusting(trust.as_str());
    let verdict = verify(&reader, &options, &|_| {}).unwrap();
    println!("{}", verdict.statement);
    if what == "report" {
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
}
