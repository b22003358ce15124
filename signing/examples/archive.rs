//! Writes a large archive for measuring: `archive DIRECTORY RECEIPTS`. Receipts of two hourly jobs and of runs by hand, ten an hour, each
//! with its bundle and seal; a plan and a token over the checkpoint every day. It leaves the origin's directory in DIRECTORY, and beside it
//! `kept` (the checkpoint when one in a hundred receipts was still to come), `roots.pem`, `receipts.pem` and `trust`.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, path::PathBuf};

use chrono::TimeDelta;

#[path = "../tests/timestamp/asn1.rs"]
#[allow(unused_imports)]
mod asn1;
#[path = "../tests/verify/sound.rs"]
mod sound;
#[path = "../tests/timestamp/tsa.rs"]
mod tsa;

use signing::keys::Signer as _;
use sound::*;
use tsa::Tsa;

fn main() {
    let mut words = std::env::args().skip(1);
    let (dir, receipts) = words.next().zip(words.next()).expect("archive DIRECTORY RECEIPTS");
    let (dir, receipts): (PathBuf, u64) = (dir.into(), receipts.parse().expect("a number"));
    let tsa = Tsa::new(tsa::p256(3));
    let mut writer = Writer::new(&dir.join(signing::layout::origin_directory(ORIGIN)));
    let start = writer.now;
    let jobs = ["host/accounts", "host/sshd"];
    writer.keys(&key_set(1));
    writer.now += TimeDelta::seconds(1);
    writer.plan_with(&jobs, "schedules in force", None);
    let mut made = 0;
    for hour in 1.. {
        let slot = start + TimeDelta::hours(hour);
        if hour % 24 == 0 {
            writer.now = slot;
            writer.plan_with(&jobs, "restated", Some(slot));
        }
        for run in 0..10 {
            writer.now = slot + TimeDelta::minutes(5 * run) + TimeDelta::seconds(1);
            let name = job(jobs[run as usize % 2]);
            writer.run(&name, (run < 2).then_some(slot));
        }
        made += 10;
        let last = made >= receipts;
        if hour % 24 == 0 || last {
            writer.append();
            writer.anchor(&tsa, writer.now + TimeDelta::seconds(10));
        }
        if made <= receipts - receipts / 100 {
            fs::copy(writer.dir.join("checkpoint"), dir.join("kept")).ok();
        }
        if last {
            break;
        }
    }
    fs::write(dir.join("roots.pem"), tsa::pem(&[&tsa.root])).unwrap();
    fs::write(dir.join("trust"), trust()).unwrap();
    let spki = serde_json::to_value(receipts_key().public()).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", spki.as_str().unwrap());
    fs::write(dir.join("receipts.pem"), pem).unwrap();
}
