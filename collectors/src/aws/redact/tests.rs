#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

fn kept(body: &str) -> (String, Vec<(String, String, u64)>) {
    let (kept, redactions) = redact(body.as_bytes().to_vec());
    let removed = redactions.into_iter().map(|redaction| (redaction.rule, redaction.place, redaction.count)).collect();
    (String::from_utf8(kept).unwrap(), removed)
}

fn rule(rule: &str, place: &str, count: u64) -> (String, String, u64) {
    (rule.into(), place.into(), count)
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn the_seed_of_an_mfa_device_is_removed_and_the_rest_stays_byte_for_byte() {
    let body = |seed: &str, code: &str| {
        format!(
            "<?xml version=\"1.0\"?>\n<R><VirtualMFADevices><member><SerialNumber>arn:aws:iam::111122223333:mfa/a</SerialNumber>\
             <Base32StringSeed>{seed}</Base32StringSeed><QRCodePNG>{code}</QRCodePNG>  <EnableDate/></member></VirtualMFADevices></R>\n"
        )
    };
    let (kept, removed) = kept(&body("SkJTV1kzRFBFSFBLM1BYUA==", "iVBORw0KGgo="));
    assert_eq!(kept, body(REMOVED, REMOVED));
    assert_eq!(removed, [rule("secret-member", "Base32StringSeed", 1), rule("secret-member", "QRCodePNG", 1)]);
}

#[test]
fn the_variables_of_functions_are_removed_and_their_names_stay() {
    let body = json!({"Functions": [{"FunctionName": "f", "Environment": {"Variables": {"A": "x1", "B": "{\"c\":1}"}}, "Timeout": 3}]});
    let (kept, removed) = kept(&body.to_string());
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["Functions"][0]["Environment"]["Variables"], json!({"A": REMOVED, "B": REMOVED}));
    assert_eq!(kept["Functions"][0]["Timeout"], 3);
    assert_eq!(removed, [rule("environment-variable", "A", 1), rule("environment-variable", "B", 1)]);
}

#[test]
fn an_answer_without_secrets_is_kept_as_it_came() {
    for body in [
        "{\"a\": [1, 2.5e3, true, null, \"x\\u0041\\n\"], \"NextToken\": \"AKIA/not an id\"}\r\n",
        "<R xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><AllowUsersToChangePassword>true</AllowUsersToChangePassword>\
         <ManageMasterUserPassword>false</ManageMasterUserPassword><SessionToken/></R>",
        "user,arn\n<root_account>,arn:aws:iam::111122223333:root\n",
        "",
        "\u{0}\u{1}",
        "<",
        "{",
        "\"",
        "<a b=\"",
    ] {
        assert_eq!(kept(body), (body.to_owned(), vec![]));
    }
}

#[test]
fn access_keys_are_identifiers_in_lists_and_secrets_in_documents() {
    let list =
        format!("<R><AccessKeyMetadata><member><AccessKeyId>{KEY_ID}</AccessKeyId></member></AccessKeyMetadata></R>");
    assert_eq!(kept(&list), (list.clone(), vec![]));
    let event = json!({"CloudTrailEvent": json!({"userIdentity": {"accessKeyId": KEY_ID}}).to_string()}).to_string();
    assert_eq!(kept(&event), (event.clone(), vec![]));
    let policy = json!({"Statement": [{"Condition": {"StringEquals": {"aws:userid": KEY_ID}}}]}).to_string();
    assert_eq!(kept(&policy).1, [rule("access-key-id", "aws:userid", 1)]);
    let described = json!({"Description": format!("key {KEY_ID} {SECRET} of ci")}).to_string();
    let (text, removed) = kept(&described);
    assert_eq!(text, json!({"Description": format!("key {REMOVED} {REMOVED} of ci")}).to_string());
    assert_eq!(removed, [rule("access-key-id", "Description", 1), rule("secret-access-key", "Description", 1)]);
}

#[test]
fn secrets_in_policies_are_found_through_every_encoding() {
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*",
        "Condition": {"StringLike": {"aws:Referer": ["https://x/?only-we-know", "t0p"]}, "StringEquals": {"aws:userid": KEY_ID}}}]})
    .to_string();
    let bodies = [
        policy.clone(),
        format!("<R><PolicyDocument>{}</PolicyDocument></R>", percent(&policy)),
        format!("<R><Policy>{}</Policy></R>", policy.replace('"', "&quot;")),
        json!({"Policy": policy}).to_string(),
        json!({"Policy": json!({"inner": policy}).to_string()}).to_string(),
        json!({"Policy": json!(policy).to_string()}).to_string(),
        json!({"Policy": percent(&policy)}).to_string(),
    ];
    for body in bodies {
        let (text, removed) = kept(&body);
        assert_eq!(
            removed,
            [rule("access-key-id", "aws:userid", 1), rule("referer-condition", "aws:Referer", 2)],
            "{body}"
        );
        for secret in ["only-we-know", "t0p", KEY_ID] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("2012-10-17") || text.contains("2012%2D10%2D17"), "{text}");
        let same = text.matches(REMOVED).count();
        assert_eq!(same, 3, "{text}");
    }
}

#[test]
fn forms_of_secrets_are_found_in_any_text() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----";
    for (text, shows, name) in [
        (format!("a {pem} b"), format!("a {REMOVED} b"), "private-key"),
        ("x -----BEGIN PRIVATE KEY-----\nMIIE".into(), format!("x {REMOVED}"), "private-key"),
        (
            format!("export AWS_SECRET_ACCESS_KEY='{SECRET}'"),
            format!("export AWS_SECRET_ACCESS_KEY='{REMOVED}'"),
            "secret-access-key",
        ),
        ("postgres://app:hunter2@db:5432/x".into(), format!("postgres://app:{REMOVED}@db:5432/x"), "url-password"),
        (
            "jdbc:x://h/d?user=a&password=hunter2&ssl=1".into(),
            format!("jdbc:x://h/d?user=a&password={REMOVED}&ssl=1"),
            "password-assignment",
        ),
    ] {
        let (json, removed) = kept(&json!({"Description": text}).to_string());
        assert_eq!((json, removed), (json!({"Description": shows}).to_string(), vec![rule(name, "Description", 1)]));
        let xml = |text: &str| format!("<R><Description>{}</Description></R>", text.replace('&', "&amp;"));
        assert_eq!(kept(&xml(&text)), (xml(&shows), vec![rule(name, "Description", 1)]));
    }
    let public = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
    assert_eq!(kept(public).0, public);
}

#[test]
fn a_value_whose_neighbour_names_it_a_secret_is_removed_in_either_order() {
    for body in [
        json!({"Tags": [{"Key": "DB_PASSWORD", "Value": "hunter2"}, {"Key": "team", "Value": "x"}]}).to_string(),
        json!({"Tags": [{"Value": "hunter2", "Key": "db-password"}, {"Key": "team", "Value": "x"}]}).to_string(),
        "<T><member><Key>Client Secret</Key><Value>hunter2</Value></member><member><Key>team</Key><Value>x</Value></member></T>".into(),
        "<T><member><Value>hunter2</Value><Key>api_key</Key></member><member><Key>team</Key><Value>x</Value></member></T>".into(),
    ] {
        let (text, removed) = kept(&body);
        assert_eq!(removed, [rule("secret-named-value", "Value", 1)], "{body}");
        assert_eq!(text, body.replace("hunter2", REMOVED));
    }
}

#[test]
fn what_is_cut_short_is_searched_to_its_end_and_stays_cut_short() {
    let whole = json!({"a": "b", "SecretAccessKey": SECRET, "c": {"Password": "hunter2hunter2"}}).to_string();
    for end in 1..whole.len() {
        let (text, _) = kept(&whole[..end]);
        assert!(!text.contains("wJa") && !text.contains("hunter"), "{text}");
        assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    }
    let whole =
        format!("<R><A><SecretAccessKey>{SECRET}</SecretAccessKey></A><Password><![CDATA[hunter2]]></Password></R>");
    for end in 1..whole.len() {
        let (text, _) = kept(&whole[..end]);
        assert!(!text.contains("wJa") && !text.contains("hunter"), "{text}");
        assert!(!text.ends_with("</R>"));
    }
}

#[test]
fn a_document_nested_too_deep_is_removed_whole() {
    let mut text = json!({"Password": "hunter2"}).to_string();
    for _ in 0..12 {
        text = json!([text]).to_string();
    }
    let (kept, removed) = kept(&text);
    assert!(!kept.contains("hunter2"));
    serde_json::from_str::<Value>(&kept).unwrap();
    assert_eq!(removed, [rule("nested-too-deep", "text", 1)]);
}

/// A value with a secret in it, and how it is planted.
fn planted() -> impl Strategy<Value = Value> {
    let names = [
        "SecretAccessKey",
        "sessionToken",
        "Password",
        "MasterUserPassword",
        "AuthToken",
        "UserData",
        "PrivateKey",
        "ClientSecret",
    ];
    prop_oneof![
        proptest::sample::select(names.to_vec()).prop_map(|name| json!({name: "PLANTED"})),
        proptest::sample::select(names.to_vec())
            .prop_map(|name| json!({name: {"Value": ["PLANTED", {"x": "PLANTED"}]}})),
        Just(json!({"Environment": {"Variables": {"A": "PLANTED"}}})),
        Just(json!({"Key": "x-password", "Value": "PLANTED"})),
        Just(json!("-----BEGIN EC PRIVATE KEY-----\nPLANTED\n-----END EC PRIVATE KEY-----")),
        Just(json!("ftp://u:PLANTED@h/p")),
        Just(json!({"Statement": {"Condition": {"x": {"AWS:Referer": "PLANTED"}}}})),
        Just(json!({"Document": "{\"Password\":\"PLANTED\"}"})),
        Just(json!({"Document": percent("{\"a\":[{\"Password\":\"PLANTED\"}]}")})),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => any::<i32>().prop_map(Value::from),
        3 => "[ -~é\u{1F980}\n\"\\\\{}<>&%]{0,12}".prop_map(Value::from),
        4 => planted(),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z]{1,8}", inner.clone(), 0..4).prop_map(|map| json!(map)),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// As AWS's XML would write it.
fn xml(value: &Value) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                let name = name.replace(':', "-");
                format!("<{name}>{}</{name}>", xml(value))
            })
            .collect(),
        Value::Array(list) => list.iter().map(|value| format!("<member>{}</member>", xml(value))).collect(),
        Value::String(text) => escape(text),
        other => other.to_string(),
    }
}

fn is_well_formed(xml: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(xml);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

proptest! {
    #[test]
    fn planted_secrets_never_survive_and_json_stays_json(value in tree(), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let (text, removed) = kept(&body);
        prop_assert!(!text.contains("PLANTED"), "{body}\n{text}");
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{body}\n{text}");
        prop_assert_eq!(body.contains("PLANTED"), !removed.is_empty());
        prop_assert_eq!(kept(&text).0, text);
    }

    #[test]
    fn planted_secrets_never_survive_and_xml_stays_xml(value in tree()) {
        // A name with a colon is no policy's in XML: documents are texts there.
        prop_assume!(!value.to_string().contains("Referer"));
        let body = format!("<R>{}</R>", xml(&value));
        let (text, _) = kept(&body);
        prop_assert!(!text.contains("PLANTED"), "{body}\n{text}");
        prop_assert!(is_well_formed(&text), "{body}\n{text}");
    }

    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(proptest::sample::select(b"{}[]<>/\"\\&;%:,=!-?x7B20AKIA\n".to_vec()), 0..80)) {
        let _ = redact(bytes);
    }

    #[test]
    fn what_is_cut_anywhere_never_shows_a_planted_secret(value in tree(), cut in 0.0..1.0_f64) {
        let body = value.to_string();
        // What tells these secrets comes after them.
        prop_assume!(!body.contains("ftp://") && !body.contains("x-password"));
        let end = (body.len() as f64 * cut) as usize;
        let (text, _) = redact(body.as_bytes()[..end].to_vec());
        prop_assert!(!text.windows(7).any(|seven| seven == b"PLANTED"), "{}\n{}", body, String::from_utf8_lossy(&text));
    }
}
