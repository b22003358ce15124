//! The AWS client's data and its wire formats, held against botocore's models, serialisers and parsers, and moto's answers.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use collectors::aws::{
    decode::decode,
    encode::encode,
    endpoint::endpoint,
    errors::refusal,
    operations::{actions, operation},
};
use serde_json::{Map, Value, json};
use tests::{
    program::text,
    tools::{aws, scripts},
};

const CALLS: &str = include_str!("../../collectors/definitions/aws/model/operations.txt");

/// What a script prints; it must end well.
fn python(script: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(aws().join("bin/python"))
        .arg("-B")
        .arg(scripts().join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn lines(mode: &str) -> Vec<Value> {
    python("aws_botocore.py", &[mode], "").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// With every number as a float, since `1` and `1.0` are the same to both sides, and without nulls, which botocore leaves out at every depth.
fn even(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(even).collect(),
        Value::Object(object) => object
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), even(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn the_models_are_what_botocore_says_and_the_definitions_fit_them() {
    python("aws_model.py", &["--check"], "");
}

#[test]
fn a_definition_that_does_not_fit_botocore_is_told_what_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let definition = "
requests:
  jobs: {call: backup.ListBackupJobs, parameters: {MaxResults: 9999, ByState: DONE, Colour: red}, rows: .Jobs}
  paged: {call: backup.ListBackupJobs, pages: {token: NextMarker, into: NextToken}, rows: .BackupJobs}
  users: {call: iam.ListUsers, pages: {token: Marker, into: Marker}, rows: .Users}
  buckets: {call: s3.ListBuckets, pages: {token: ContinuationToken, into: ContinuationToken}, rows: .Buckets}
  encryption: {call: s3.GetBucketEncryption, for_each: {bucket: buckets, key: .Nam}, parameters: {Bucket: '{bucket.Named}'}}
  key: {call: kms.DescribeKey}
  unlisted: {call: iam.GetRole, parameters: {RoleName: r}}
  unknown: {call: iam.GetRoles}
  grants: {call: s3.GetBucketAcl, parameters: {Bucket: b}, rows: '[.Grants[] | {Who: .Grantee.URI, what: .Permitted}]'}
records:
  bucket:
    rows: buckets
    id: .BucketArn
    as_of: .Created | instant
    join: {encryption: {with: encryption, on: .Name}}
    fields: {rules: $encryption.row.ServerSideEncryptionConfiguration.Rulez, region: .BucketRegion}
";
    fs::write(directory.path().join("d.yaml"), definition).unwrap();
    let told = python("aws_lint.py", &[directory.path().to_str().unwrap()], "");
    let expected = [
        "requests.jobs.parameters: backup.ListBackupJobs takes no Colour",
        "requests.jobs.parameters.ByState: 'DONE' is not one of",
        "requests.jobs.parameters.MaxResults: 9999 is not between 1 and 1000",
        "requests.jobs.pages: backup.ListBackupJobs answers in pages (NextToken), and none are declared",
        "requests.jobs.rows: .Jobs: botocore's ListBackupJobsOutput has no member Jobs",
        "requests.paged.pages.token: .NextMarker: botocore's ListBackupJobsOutput has no member NextMarker",
        "requests.paged.pages.token: is NextMarker, and NextToken in botocore's paginator",
        "requests.users.pages.more: is None, and IsTruncated in botocore's paginator",
        "requests.encryption.for_each.key: .Nam: botocore's Bucket has no member Nam",
        "requests.encryption.for_each: .Named: botocore's Bucket has no member Named",
        "requests.key.parameters: kms.DescribeKey needs KeyId",
        "requests.unlisted: operations.txt does not name iam.GetRole",
        "requests.unknown: botocore knows no operation iam.GetRoles",
        "requests.grants.rows: no answer has a member Permitted",
        "requests.encryption.for_each.key: no answer has a member Nam",
        "records.bucket.as_of: no answer has a member Created",
        "records.bucket.fields.rules: no answer has a member Rulez",
        "requests.jobs.rows: no answer has a member Jobs",
        "records.bucket.as_of: .Created: botocore's Bucket has no member Created",
        "records.bucket.fields.rules: .ServerSideEncryptionConfiguration.Rulez: botocore's",
    ];
    for fault in expected {
        assert!(told.contains(fault), "{fault}\nis not in\n{told}");
    }
    assert_eq!(told.lines().count(), expected.len(), "{told}");
}

#[test]
fn every_operations_answers_are_read_as_botocore_reads_them_and_not_at_all_where_they_are_cut() {
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines("answers") {
        let (call, body) = (line["call"].as_str().unwrap(), line["body"].as_str().unwrap());
        let ours = decode(operation(call).unwrap(), body.as_bytes()).unwrap_or_else(|e| panic!("{call}: {e}\n{body}"));
        assert_eq!(even(&ours), even(&line["parsed"]), "{call}\n{body}");
        for cut in (0..body.len()).step_by(body.len() / 20 + 1) {
            assert!(decode(operation(call).unwrap(), &body.as_bytes()[..cut]).is_err(), "{call} cut to {cut}\n{body}");
        }
        *read.entry(call.to_owned()).or_default() += 1;
    }
    assert!(read.keys().map(String::as_str).eq(CALLS.lines()), "{read:?}");
    assert!(read.values().all(|&answers| answers == 5));
}

#[test]
fn a_simulators_answers_and_errors_are_read_as_botocore_reads_them() {
    let (mut answers, mut errors) = (0, 0);
    for line in lines("moto") {
        let (call, body) = (line["call"].as_str().unwrap(), line["body"].as_str().unwrap());
        let (operation, parsed) = (operation(call).unwrap(), &line["parsed"]);
        let status = line["status"].as_u64().unwrap() as u16;
        if status < 300 {
            let ours = decode(operation, body.as_bytes()).unwrap_or_else(|e| panic!("{call}: {e}\n{body}"));
            assert_eq!(even(&ours), even(parsed), "{call}\n{body}");
            answers += 1;
        } else {
            let header = |name: &str| line["headers"][name].as_str().map(str::to_owned);
            let ours = refusal(operation, status, &header, body.as_bytes());
            // What is no error of AWS's has the status for a code: with us it says so.
            let theirs = match parsed["Error"]["Code"].as_str().unwrap() {
                code if code == status.to_string() => json!([format!("HTTP {status}"), ""]),
                code => json!([code, parsed["Error"]["Message"]]),
            };
            assert_eq!(json!([ours.code, ours.message]), theirs, "{call}\n{body}");
            errors += 1;
        }
    }
    assert!(answers > 80 && errors > 20, "{answers} answers, {errors} errors");
}

#[test]
fn every_operations_requests_are_those_that_botocore_makes() {
    let mut asked = 0;
    for line in lines("asks") {
        let call = line["call"].as_str().unwrap();
        let ask = encode(operation(call).unwrap(), line["parameters"].as_object().unwrap());
        let ask = ask.unwrap_or_else(|e| panic!("{call}: {e}\n{line}"));
        let (path, query) = ask.path_and_query.split_once('?').unwrap_or((&ask.path_and_query, ""));
        let body = match std::str::from_utf8(&ask.body).unwrap() {
            "" => Value::Null,
            form if form.starts_with("Action=") => pairs(form).into_iter().collect::<Map<_, _>>().into(),
            json => serde_json::from_str(json).unwrap(),
        };
        let body = if body == json!({}) { Value::Null } else { body };
        let mut query: Vec<Value> = pairs(query).into_iter().map(|(name, value)| json!([name, value])).collect();
        query.sort_by_key(Value::to_string);
        let mut expected = line["query"].as_array().unwrap().clone();
        expected.sort_by_key(Value::to_string);
        let headers: Map<String, Value> =
            ask.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        assert_eq!(
            json!([ask.method, path, query, headers, even(&body), ask.host_prefix]),
            json!([line["method"], line["path"], expected, line["headers"], even(&line["body"]), line["host_prefix"]]),
            "{call} {}",
            line["parameters"]
        );
        asked += 1;
    }
    assert_eq!(asked, CALLS.lines().count() * 4);
}

/// The names and values of a query or form.
fn pairs(form: &str) -> Vec<(String, Value)> {
    let plain = |text: &str| {
        let mut parts = text.split('%');
        let mut plain = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            plain.push(u8::from_str_radix(&part[..2], 16).unwrap());
            plain.extend(&part.as_bytes()[2..]);
        }
        String::from_utf8(plain).unwrap()
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (plain(name), plain(value).into())
    };
    form.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[test]
fn every_service_is_asked_in_every_region_where_botocore_asks_it() {
    for line in lines("endpoints") {
        let service = &operation(line["call"].as_str().unwrap()).unwrap().service;
        let ours = endpoint(service, line["region"].as_str().unwrap(), None);
        assert_eq!(json!([ours.url, ours.signing_region]), json!([line["url"], line["signed_for"]]), "{line}");
    }
}

#[test]
fn every_iam_action_is_one_that_aws_lists() {
    let actions: Vec<String> = CALLS.lines().flat_map(actions).collect();
    assert_eq!(actions.len(), CALLS.lines().count() - 1, "only GetCallerIdentity needs none");
    assert_eq!(python("aws_botocore.py", &["actions"], &(actions.join("\n") + "\ns3:ReadMind\n")), "s3:ReadMind\n");
}

#[test]
fn blobs_stay_base64() {
    let body = format!(
        "<GetCredentialReportResponse><GetCredentialReportResult><Content>{}</Content></GetCredentialReportResult></GetCredentialReportResponse>",
        STANDARD.encode("user,arn\n")
    );
    let read = decode(operation("iam.GetCredentialReport").unwrap(), body.as_bytes()).unwrap();
    assert_eq!(read, json!({"Content": STANDARD.encode("user,arn\n")}));
}
