//! A run of very many exchanges, from its collector to an auditor's verdict, and what it takes in memory on the way.
// What it makes beside the archive is scratch.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{collections::BTreeMap, fs, io, sync::Arc, time::Duration};

use collectors::{
    contract::{Answer, BoxFuture, CollectError, Collector, Context, Evidence, Population, Record, Records, Spec},
    recorder::Draft,
};
use evidenced::{
    archive::DirArchive,
    clock::{Clock, SimClock},
    durable::Disk,
    jobs::Checks,
    keystore,
    pipeline::{Options, Pipeline, PlanBasis, Spooled},
    rederive::Collectors,
    run::{Env, Hanging, Place, Task, execute},
};
use serde_json::{Value, json};
use signing::{
    bundle::SourceFacts,
    digest::Digest,
    layout,
    plan::{self, Plan, PlannedJob},
    statement::Outcome,
    store::Dir,
    time::Utc,
    verify,
};
use tokio_util::sync::CancellationToken;

const EXCHANGES: u64 = 50_000;
const ORIGIN: &str = "localhost/many";
const JOB: &str = "test/buckets@here";

/// One request for each bucket, as a listing's fan-out makes them.
struct Buckets(Spec);

fn spec() -> Spec {
    let checks = "
- {id: encrypted, item: mfa_user_enrolled, population: bucket, pass: .encrypted, says: '{id} is not encrypted'}
- {id: versioned, item: mfa_user_enrolled, population: bucket, pass: .versioning, says: '{id} has no versions'}
- id: known
  item: mfa_user_enrolled
  population: bucket
  pass: $same.row.encrypted
  says: '{id} is not in the list'
  join: {same: {with: bucket, on: .id}}
";
    Spec {
        id: "test/buckets".into(),
        version: 1,
        title: "buckets".into(),
        source: "test".into(),
        schedule: "@daily".into(),
        deadline: Duration::from_secs(3600),
        needs: Vec::new(),
        kinds: vec!["bucket".into()],
        checks: checks.into(),
        inputs: Vec::new(),
        window: None,
    }
}

impl Collector for Buckets {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            for number in 0..EXCHANGES {
                let now = (context.now)();
                let name = format!("bucket-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let request =
                    json!({"region": "eu-central-1", "account": "111122223333", "parameters": {"Bucket": name}});
                let body = json!({"Bucket": name, "Encryption": number % 10 > 0, "Status": "Enabled", "KeyId": number});
                let draft = Draft {
                    answer: Answer::Ok,
                    end: Some("the only page".into()),
                    ..Draft::new(
                        "s3.GetBucketEncryption",
                        request,
                        "arn:aws:sts::111122223333:assumed-role/reader/x",
                        now,
                    )
                };
                context.recorder.record(draft, "json", Some(body.to_string().as_bytes()))?;
            }
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        for exchange in evidence.exchanges() {
            let exchange = exchange?;
            let body: Value = serde_json::from_slice(&evidence.body(&exchange)?)?;
            let fields = json!({"encrypted": body["Encryption"], "versioning": true, "key": body["KeyId"]});
            let id = format!("arn:aws:s3:::{}", body["Bucket"].as_str().unwrap_or_default());
            let fields = fields.as_object().cloned().unwrap_or_default();
            out.record("bucket", Record { id, as_of: Some(exchange.ended_at), exchange: exchange.number, fields })?;
        }
        out.population("bucket", Population::Whole);
        Ok(())
    }
}

/// The most that this process had in memory so far, in KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

fn plan(basis: &PlanBasis<'_>, checks: Digest) -> Plan {
    let planned = PlannedJob {
        job: JOB.parse().unwrap(),
        version: 1,
        checks,
        schedule: None,
        start_within_seconds: 120,
        deadline_seconds: 3600,
        grace_seconds: 60,
        spread_seconds: 0,
        watermark: None,
    };
    Plan {
        format: plan::FORMAT.to_owned(),
        origin: ORIGIN.to_owned(),
        agent: "0.0.0".to_owned(),
        sealed_at: basis.sealed_at,
        previous: basis.previous,
        reason: "started".to_owned(),
        settle_seconds: 300,
        retention_days: None,
        zones: BTreeMap::new(),
        jobs: vec![planned],
        not_run: Vec::new(),
    }
}

#[tokio::test]
async fn fifty_thousand_exchanges_are_kept_judged_sealed_and_derived_again_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new("2026-11-22T04:00:00Z".parse::<Utc>().unwrap()));
    let disk = Disk::new();
    let options = Options {
        state_dir: dir.path().join("state"),
        archive: Arc::new(DirArchive::open(&dir.path().join("archive"), ORIGIN, &disk).unwrap()),
        origin: ORIGIN.to_owned(),
        keys: keystore::make(&disk, &dir.path().join("keys"), ORIGIN, clock.now()).unwrap().keys.into(),
        clock: clock.clone(),
        disk: disk.clone(),
        instance: "one".to_owned(),
    };
    let trust = options.keys.now().set.root.fingerprint();
    let pipeline = Pipeline::open(options).await.unwrap();
    let collector: Arc<dyn Collector> = Arc::new(Buckets(spec()));
    let checks = Arc::new(Checks::new(&collector.spec().checks, Value::Null).unwrap());
    let planned = checks.digest();
    let plan = pipeline.spool_plan(move |basis| plan(&basis, planned)).await.unwrap();

    let base = peak();
    let grown = |step: &str| println!("{step}: {} KiB above {base} KiB", peak() - base);
    fs::create_dir(dir.path().join("work")).unwrap();
    let env = Env { work: dir.path().join("work"), clock, place: Place::Own, hanging: Hanging::default() };
    let task = Task {
        job: JOB.parse().unwrap(),
        slot: None,
        plan,
        late: false,
        source: SourceFacts { name: "here".into(), kind: "test".into(), identity: Value::Null },
        collector: collector.clone(),
        checks,
        deadline: Duration::from_secs(3600),
        attempts: 1,
        inputs: Vec::new(),
        window: None,
    };
    let ran = execute(&env, task, &CancellationToken::new()).await.unwrap();
    grown("kept, derived and judged");
    assert_eq!((ran.facts.outcome, ran.facts.records["bucket"]), (Outcome::Collected, EXCHANGES));
    let counts = ran.checks["known"];
    assert_eq!((counts.pass, counts.fail, counts.unknown), (EXCHANGES / 10 * 9, EXCHANGES / 10, 0));
    assert!(matches!(pipeline.spool_run(&ran.dir, &ran.facts, &ran.checks).await.unwrap(), Spooled::New(_)));
    drop(ran);
    grown("bundled");
    assert!(
        peak() - base < 50 * 1024,
        "some 150 bytes for an exchange with its record in three checks, where a whole one has 1,500"
    );
    let drained = pipeline.drain().await.unwrap();
    assert_eq!((drained.pending, drained.held.len()), (0, 0), "{drained:?}");
    grown("sealed, uploaded and logged");

    let reader = Dir::new(dir.path().join("archive").join(layout::origin_directory(ORIGIN)));
    let collectors = Collectors::of([collector]);
    let options = verify::Options { deep: Some(&collectors), ..verify::Options::trusting(trust) };
    let verdict = verify::verify(&reader, &options, &|_| {}).unwrap();
    grown("verified and derived again");
    assert!(verdict.intact, "{:#?}", verdict.findings);
    assert_eq!((verdict.numbers.opened, verdict.numbers.rederived), (1, 1));
}
