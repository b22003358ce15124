//! Single requests: each way to fail, and what is kept of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use collectors::contract::Answer;

use super::*;

const USERS: &str = "<ListUsersResponse><ListUsersResult><Users><member><UserName>ann</UserName></member></Users>\
                     <IsTruncated>false</IsTruncated></ListUsersResult></ListUsersResponse>";

/// A run that asks for users; `answers` gives the answer to each attempt, from 0.
async fn list_users(answers: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Asked, Server) {
    let attempts = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.call().as_str() {
        "iam.ListUsers" => answers(attempts.fetch_add(1, Ordering::SeqCst)),
        _ => usual(seen),
    })
    .await;
    let aws = aws(&server, nothing());
    let run = Run::begin(&aws).await;
    (run.ask("iam.ListUsers", nothing()).await, server)
}

fn detail(asked: &Asked) -> &str {
    &asked.draft.detail
}

#[tokio::test]
async fn an_answer_is_kept_with_who_asked_what_where() {
    let (asked, server) = list_users(|_| ok(USERS)).await;
    assert_eq!((asked.draft.answer, detail(&asked), asked.draft.status), (Answer::Ok, "200 OK", Some(200)));
    assert_eq!(asked.body.as_deref(), Some(USERS.as_bytes()));
    assert_eq!(asked.decoded.unwrap()["Users"], json!([{"UserName": "ann"}]));
    assert_eq!(asked.extension, "xml");
    let draft = asked.draft;
    assert_eq!(draft.caller, "arn:aws:sts::111122223333:assumed-role/evidenced-read/evidenced");
    assert_eq!((draft.operation.as_str(), draft.request_id.as_deref()), ("iam.ListUsers", Some("id-ok")));
    assert_eq!((&draft.request["endpoint"], &draft.request["method"]), (&json!(server.url), &json!("POST")));
    assert_eq!(draft.request["cell"], json!({"account": "111122223333", "region": "eu-west-1"}));
    assert!(draft.tried.is_empty() && draft.redactions.is_empty());
    let seen = server.seen().into_iter().find(|seen| seen.call() == "iam.ListUsers").unwrap();
    assert_eq!(seen.access_key(), "ASIAROLE111122223333");
    assert_eq!(seen.region(), "us-east-1");
    assert!(seen.headers["user-agent"].starts_with("evidenced/"), "{seen:?}");
}

#[tokio::test]
async fn what_was_throttled_is_asked_again_and_every_attempt_is_kept() {
    let (asked, server) = list_users(|attempt| match attempt {
        0 => error(400, "Throttling", "Rate exceeded"),
        1 => Reply::Full(503, vec![], b"<html>busy</html>".to_vec()),
        2 => json_error(429, "TooManyRequestsException"),
        _ => ok(USERS),
    })
    .await;
    assert_eq!(asked.draft.answer, Answer::Ok);
    let tried: Vec<_> = asked.draft.tried.iter().map(|tried| (tried.status, tried.detail.as_str())).collect();
    let expected =
        [(Some(400), "Throttling: Rate exceeded"), (Some(503), "HTTP 503"), (Some(429), "TooManyRequestsException")];
    assert_eq!(tried, expected);
    assert_eq!(asked.draft.tried[0].request_id.as_deref(), Some("id-error"));
    assert_eq!(server.count("iam.ListUsers"), 4);
}

#[tokio::test]
async fn what_is_throttled_for_ever_ends_as_failed_with_its_code() {
    let (asked, server) = list_users(|_| error(400, "RequestLimitExceeded", "slow down")).await;
    assert_eq!((asked.draft.answer, asked.draft.code.as_deref()), (Answer::Failed, Some("RequestLimitExceeded")));
    assert_eq!((asked.draft.tried.len(), server.count("iam.ListUsers")), (3, 4));
    assert_eq!(asked.decoded, None);
}

#[tokio::test]
async fn a_refusal_is_not_asked_again_and_its_words_are_kept() {
    let says = "User: x is not authorized to perform: iam:ListUsers with an explicit deny in a service control policy";
    let (asked, server) = list_users(move |_| error(403, "AccessDenied", says)).await;
    assert_eq!((asked.draft.answer, asked.draft.status), (Answer::Denied, Some(403)));
    assert_eq!(asked.draft.code.as_deref(), Some("AccessDenied"));
    assert!(detail(&asked).starts_with(&format!("AccessDenied: {says}; a service control policy")), "{asked:?}");
    assert!(String::from_utf8(asked.body.unwrap()).unwrap().contains("explicit deny"));
    assert_eq!(server.count("iam.ListUsers"), 1);
}

#[tokio::test]
async fn html_from_a_server_that_lacks_the_call_is_tried_three_times_and_no_more() {
    let page = b"<!doctype html>\n<html><body><p>broken<br></body>".to_vec();
    let (asked, server) = list_users(move |_| Reply::Full(500, vec![], page.clone())).await;
    assert_eq!((asked.draft.answer, asked.draft.code.as_deref()), (Answer::Failed, Some("HTTP 500")));
    assert_eq!(server.count("iam.ListUsers"), 3);
    let (_, server) = list_users(|_| error(501, "NotImplemented", "not here")).await;
    assert_eq!(server.count("iam.ListUsers"), 1);
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_never_a_full_one() {
    let half = &USERS.as_bytes()[..USERS.len() - 30];
    // What came is all that can be read of it, even if nothing of it is missing.
    for body in [half.to_vec(), USERS.as_bytes().to_vec()] {
        for cut in [Reply::Short, Reply::ShortChunks] {
            let body = body.clone();
            let (asked, server) = list_users(move |_| cut(body.clone())).await;
            assert_eq!((asked.draft.answer, asked.draft.status), (Answer::CutShort, Some(200)), "{asked:?}");
            assert_eq!((asked.body, asked.decoded), (None, None));
            assert_eq!(server.count("iam.ListUsers"), 3);
        }
    }
    let body = half.to_vec();
    let (asked, _) = list_users(move |_| Reply::UntilClosed(body.clone())).await;
    assert_eq!((asked.draft.answer, &asked.body, &asked.decoded), (Answer::Failed, &None, &None));
    assert!(detail(&asked).starts_with("200 OK, but it cannot be read: "), "{asked:?}");
}

#[tokio::test]
async fn an_answer_of_another_kind_is_never_a_full_one() {
    for body in ["", "{}", "<html></html>", "<ListRolesResponse/>", "\u{0}"] {
        let (asked, _) = list_users(move |_| ok(body)).await;
        assert_eq!((asked.draft.answer, &asked.decoded), (Answer::Failed, &None), "{body:?}");
        assert!(detail(&asked).contains("cannot be read"), "{asked:?}");
    }
}

#[tokio::test]
async fn an_answer_longer_than_is_read_is_cut_short_and_not_asked_again() {
    let (asked, server) = list_users(|_| ok(vec![b' '; 2 << 20])).await;
    assert_eq!((asked.draft.answer, &asked.body), (Answer::CutShort, &None));
    assert!(detail(&asked).contains("longer than 1048576 bytes"), "{asked:?}");
    assert_eq!(server.count("iam.ListUsers"), 1);
}

#[tokio::test]
async fn what_does_not_answer_in_time_is_tried_again_and_timed_out() {
    for slow in [Reply::Stalls, Reply::Silent] {
        let again = slow.clone();
        let (asked, _) = list_users(move |attempt| if attempt == 0 { slow.clone() } else { ok(USERS) }).await;
        assert_eq!(asked.draft.answer, Answer::Ok, "{again:?}");
        assert!(asked.draft.tried[0].detail.contains("within 600ms"), "{asked:?}");
        let (asked, server) = list_users(move |_| again.clone()).await;
        assert_eq!((asked.draft.answer, asked.draft.tried.len()), (Answer::TimedOut, 2), "{asked:?}");
        assert_eq!(server.count("iam.ListUsers"), 3);
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_answer_that_says_so() {
    let server = Server::start(usual).await;
    let aws = aws(&server, json!({"endpoints": {"iam": "http://127.0.0.1:1"}}));
    let asked = Run::begin(&aws).await.ask("iam.ListUsers", nothing()).await;
    assert_eq!((asked.draft.answer, asked.draft.status, asked.draft.tried.len()), (Answer::Failed, None, 2));
    assert!(detail(&asked).contains("Connection refused"), "{asked:?}");
    let (asked, server) = list_users(|attempt| if attempt == 0 { Reply::Closes } else { ok(USERS) }).await;
    assert_eq!((asked.draft.answer, server.count("iam.ListUsers")), (Answer::Ok, 2));
}

#[tokio::test]
async fn credentials_that_expire_in_mid_run_are_renewed_once_and_it_goes_on() {
    let roles = Arc::new(AtomicUsize::new(0));
    let assumed_roles = roles.clone();
    let server = Server::start(move |seen| match (seen.call().as_str(), assumed_roles.load(Ordering::SeqCst)) {
        ("sts.AssumeRole", _) => {
            assumed_roles.fetch_add(1, Ordering::SeqCst);
            usual(seen)
        }
        ("iam.ListUsers", 1) => error(403, "ExpiredToken", "The security token included in the request is expired"),
        ("iam.ListUsers", _) => ok(USERS),
        _ => usual(seen),
    })
    .await;
    let aws = aws(&server, nothing());
    let asked = Run::begin(&aws).await.ask("iam.ListUsers", nothing()).await;
    assert_eq!((asked.draft.answer, asked.draft.tried.len()), (Answer::Ok, 1));
    assert!(asked.draft.tried[0].detail.starts_with("ExpiredToken: "), "{asked:?}");
    assert_eq!((roles.load(Ordering::SeqCst), server.count("iam.ListUsers")), (2, 2));
    let (asked, server) = list_users(|_| error(403, "ExpiredToken", "expired")).await;
    assert_eq!((asked.draft.answer, server.count("iam.ListUsers")), (Answer::Failed, 2), "{asked:?}");
}

#[tokio::test]
async fn a_bucket_that_lies_elsewhere_is_asked_there() {
    let there = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'us-west-2'</Message><Region>us-west-2</Region></Error>";
    for (status, headers, body) in [
        (301, vec![("x-amz-bucket-region", "us-west-2".to_owned())], "<Error><Code>PermanentRedirect</Code></Error>"),
        (400, vec![], malformed),
    ] {
        let server = Server::start(move |seen| match (seen.path.as_str(), seen.region().as_str()) {
            ("/b-1?versioning", "us-west-2") => {
                let ids = vec![("x-amz-request-id", "one".to_owned()), ("x-amz-id-2", "two".to_owned())];
                Reply::Full(200, ids, there.into())
            }
            ("/b-1?versioning", _) => Reply::Full(status, headers.clone(), body.into()),
            _ => usual(seen),
        })
        .await;
        let aws = aws(&server, nothing());
        let asked = Run::begin(&aws).await.ask("s3.GetBucketVersioning", json!({"Bucket": "b-1"})).await;
        assert_eq!((asked.draft.answer, asked.draft.tried.len()), (Answer::Ok, 1), "{asked:?}");
        assert_eq!(asked.draft.request["region"], "us-west-2");
        assert_eq!(asked.draft.request_id.as_deref(), Some("one two"));
        assert_eq!(asked.decoded.unwrap()["Status"], "Enabled");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_with_the_refusal() {
    let (asked, _) = list_users(|_| {
        let Reply::Full(status, mut headers, body) = error(403, "SignatureDoesNotMatch", "Signature expired") else {
            panic!()
        };
        headers.push(("date", "Sun, 22 Nov 2015 04:00:00 GMT".into()));
        Reply::Full(status, headers, body)
    })
    .await;
    assert!(
        detail(&asked).contains("this machine's clock is ") && detail(&asked).contains(" s ahead of AWS's"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn secrets_in_an_answer_are_not_kept_and_their_removal_is() {
    let devices = "<ListVirtualMFADevicesResponse><ListVirtualMFADevicesResult><VirtualMFADevices><member><SerialNumber>s</SerialNumber>\
                   <Base32StringSeed>SEED</Base32StringSeed></member></VirtualMFADevices></ListVirtualMFADevicesResult></ListVirtualMFADevicesResponse>";
    let server = Server::start(move |seen| match seen.call().as_str() {
        "iam.ListVirtualMFADevices" => ok(devices),
        _ => usual(seen),
    })
    .await;
    let aws = aws(&server, nothing());
    let asked = Run::begin(&aws).await.ask("iam.ListVirtualMFADevices", nothing()).await;
    assert_eq!(asked.draft.answer, Answer::Ok);
    assert!(!String::from_utf8(asked.body.unwrap()).unwrap().contains("SEED"));
    assert_eq!(asked.draft.redactions[0].place, "Base32StringSeed");
}

#[tokio::test]
async fn what_may_change_something_is_never_sent() {
    let server = Server::start(usual).await;
    let aws = aws(&server, nothing());
    let run = Run::begin(&aws).await;
    let before = server.seen().len();
    for call in ["iam.DeleteUser", "sts.AssumeRole", "nothing.Known"] {
        let asked = run.ask(call, nothing()).await;
        assert_eq!(asked.draft.answer, Answer::Failed);
        assert!(detail(&asked).starts_with("not asked: "), "{asked:?}");
    }
    let asked = run.ask("iam.ListUsers", json!({"NoSuchParameter": 1})).await;
    assert!(detail(&asked).starts_with("not asked: ") && detail(&asked).contains("NoSuchParameter"), "{asked:?}");
    assert_eq!(server.seen().len(), before);
}

#[tokio::test]
async fn one_slow_account_region_or_service_does_not_slow_another() {
    let server = Server::start(move |seen| match (seen.call().as_str(), seen.access_key().as_str()) {
        ("iam.ListUsers", "ASIAROLE111122223333") => error(400, "Throttling", "Rate exceeded"),
        ("iam.ListUsers", _) => ok(USERS),
        _ => usual(seen),
    })
    .await;
    let aws = aws(&server, json!({"accounts": ["111122223333", "444455556666"]}));
    let run = Run::begin(&aws).await;
    let slow = run.ask("iam.ListUsers", nothing()).await;
    assert_eq!(slow.draft.answer, Answer::Failed);
    let began = std::time::Instant::now();
    for _ in 0..20 {
        let other = Ask { cell: Cell::new([("account", "444455556666")]), ..ask("iam.ListUsers", nothing()) };
        assert_eq!(run.session.ask(other).await.draft.answer, Answer::Ok);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
