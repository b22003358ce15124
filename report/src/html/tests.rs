#![allow(clippy::unwrap_used)]
//! What the page says, and that nothing in a report can change what it is.

mod fixture;

use fixture::{EVIL, at_an_instant, awkward, empty, large};
use signing::verify::{Code, Finding};

use super::*;

fn page(report: &Report) -> String {
    let mut out = Vec::new();
    write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The page without its own script, style and the section that verifies.
fn said(report: &Report) -> String {
    page(report).replace(SCRIPT, "").replace(STYLE, "").replace(SECTION, "")
}

/// The visible text of a page.
fn text(page: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            _ if !inside => out.push(c),
            _ => {}
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_string_of_a_report_becomes_markup_or_reorders_what_is_read() {
    for report in [awkward(EVIL), at_an_instant(EVIL)] {
        let page = said(&report);
        assert!(page.matches("&lt;script&gt;").count() > 40, "the strings are there, escaped");
        assert!(!page.contains("<script>alert"), "a string became a script");
        assert!(!page.contains("onerror=\"") && !page.contains("\" autofocus"), "a string left its attribute");
        for mark in ['\u{202e}', '\u{2066}', '\u{200f}', '\u{0}', '\u{200b}', '\u{feff}'] {
            assert!(!page.contains(mark), "{:04x} is in the page", u32::from(mark));
        }
        assert!(page.contains("[U+202E]"));
    }
}

#[test]
fn every_element_that_opens_closes_in_order() {
    const VOID: [&str; 5] = ["meta", "link", "br", "input", "path"];
    for report in [awkward("plain"), at_an_instant("plain"), empty(), awkward(EVIL)] {
        let page = page(&report).replace(SCRIPT, "").replace(STYLE, "");
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
            let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
            match tag.strip_prefix('/') {
                _ if tag.starts_with('!') => {}
                Some("path") => {}
                Some(name) => assert_eq!(open.pop(), Some(name), "closed in the wrong place"),
                None if VOID.contains(&name) || tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "not closed: {open:?}");
    }
}

#[test]
fn links_within_the_page_lead_somewhere_and_no_place_is_there_twice() {
    let soc2_alone = Report { hipaa: Vec::new(), ..awkward("plain") };
    for report in [awkward("plain"), soc2_alone, at_an_instant("plain"), awkward("ünïcode / with spaces")] {
        let page = page(&report);
        let of = |key: &str| -> Vec<String> {
            page.split(&format!("{key}=\"")).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
        };
        let places = of(" id");
        for (n, place) in places.iter().enumerate() {
            assert!(!places[..n].contains(place), "{place} is there twice");
        }
        for link in of("href").iter().filter(|link| link.starts_with('#')) {
            assert!(places.contains(&link[1..].to_owned()), "{link} leads nowhere");
        }
    }
}

#[test]
fn nothing_is_asked_of_a_network_and_the_policy_forbids_it() {
    let page = page(&awkward("plain"));
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    assert!(
        !page.contains("src=") && !page.contains("url(") && !page.contains("@import") && !page.contains(" style=\"")
    );
    let outside = page.replace(SCRIPT, "");
    assert!(!outside.contains("http://") && !outside.contains("https://"));
    for page in [page.as_str(), VERIFY_PAGE.as_str()] {
        let script = page.split("<script type=\"module\">").nth(1).unwrap().split("</script>").next().unwrap();
        let digest = STANDARD.encode(Digest::of(script.as_bytes()).0);
        assert!(page.contains(&format!("sha256-{digest}")), "the policy names another script");
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(page.contains(&format!("sha256-{}", STANDARD.encode(Digest::of(style.as_bytes()).0))));
    }
}

#[test]
fn an_archive_that_is_not_intact_says_so_before_anything_else() {
    let mut report = awkward("plain");
    let limits = report.integrity.limits.len();
    let says = format!("Archive intact Verification found nothing wrong, with {limits} limit");
    assert!(limits > 0 && text(&said(&report)).contains(&says));
    report.integrity.limits.clear();
    assert!(text(&said(&report)).contains("Archive intact Verification found nothing wrong."));
    report.integrity.intact = false;
    report.integrity.findings = vec![Finding {
        code: Code::BundleDigest,
        object: "bundle/2026/03/04/x.zip".into(),
        index: Some(77),
        says: "its SHA-256 is another".into(),
        meaning: Code::BundleDigest.means(),
    }];
    let page = said(&report);
    assert!(page.contains("<title>NOT INTACT: "));
    let body = text(page.split("<body>").nth(1).unwrap());
    let (verdict, title) = (body.find("NOT INTACT").unwrap(), body.find("Evidence of controls").unwrap());
    assert!(verdict < title, "{}", &body[..300]);
    assert!(body.contains("BUNDLE-DIGEST bundle/2026/03/04/x.zip #77 its SHA-256 is another"));
    assert!(!body.contains("Archive intact"));
}

#[test]
fn the_view_of_an_instant_never_speaks_of_operating() {
    let page = text(&said(&at_an_instant("plain"))).to_lowercase();
    for word in ["operated", "operating", "effective", "day by day", "required ="] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("last complete observation") && page.contains("3 hours") && page.contains("none"));
}

#[test]
fn words_that_reports_never_use_are_not_in_the_page() {
    for report in [awkward("plain"), at_an_instant("plain"), empty()] {
        let page = text(&said(&report)).to_lowercase();
        for word in ["compliant", "compliance", "violation", " met ", " sound "] {
            assert!(!page.contains(word), "{word}");
        }
    }
    let page = text(&said(&awkward("plain")));
    assert!(page.contains("Not a SOC 2 report"));
    assert!(page.contains("no decision recorded"));
}

#[test]
fn a_control_shows_its_numbers_its_days_and_what_people_said_apart() {
    let page = text(&said(&awkward("plain")));
    for words in [
        "AC-01",
        "required 724 operated",
        "not observed",
        "fail, accepted until 2027-03-01 00:00:00 UTC by plain approver",
        "Management’s word",
        "closed 2026-04-09 02:00:00 : the record passes",
        "fail, open",
        "left out: host/packages@spare: plain",
        "Not evidenced: no occurrence was observed.",
        "Events not read whole: 2026-05-01 00:00:00 UTC to 2026-05-02 00:00:00 UTC",
        "How many events fell there is not known.",
        "waiver W-000000000002 does not apply: plain",
    ] {
        assert!(page.contains(words), "{words} is not in the page");
    }
}

#[test]
fn the_picture_has_every_day_once_with_a_shape_for_each_state() {
    let report = awkward("plain");
    let picture = calendar::picture("label", Context::new(&report).period.unwrap(), &report.controls[0].occurrences)
        .into_string();
    let days = |class: &str| {
        let path =
            picture.split(&format!("<path class=\"{class}\" d=\"")).nth(1).unwrap_or("").split('"').next().unwrap();
        path.matches('M').count()
    };
    assert_eq!(days("fo") + days("fd") + days("fn") + days("fx") + days("fw"), 365);
    assert_eq!(days("fd"), 35);
    assert_eq!(days("gd"), 35, "each has its cross");
    assert!(days("fn") > 0 && days("fw") == 3);
    assert!(
        picture.contains("role=\"img\" aria-label=\"label\"")
            && picture.contains("<title>2026-02-09 to 2026-02-28: deviation in ")
    );
}

#[test]
fn what_is_not_listed_is_counted_and_its_file_named() {
    let mut report = awkward("plain");
    let one = report.deviations[0].clone();
    report.deviations = (0..700).map(|n| model_deviation(&one, n)).collect();
    report.controls[0].deviations = 700;
    report.more_drift = 9_000;
    report.populations = vec![report.populations[0].clone(); 600];
    let page = text(&said(&report));
    assert!(page.contains("30 of 700 deviations are listed; all 700 are in deviations.csv ."), "of a control");
    assert!(page.contains("500 of 700 deviations are listed; all 700 are in deviations.csv ."), "of all");
    assert!(page.contains("all 9,003 are in drift.csv ."));
    assert!(page.contains("500 of 600 populations are listed; all 600 are in populations.csv ."));
    assert!(page.contains("judged only up to 2026-11-30") && page.contains("frozen otherwise later: #104201"));
    assert!(page.contains("5 gaps") && page.contains("all are in report.json"));
}

fn model_deviation(of: &crate::model::Deviation, n: u32) -> crate::model::Deviation {
    crate::model::Deviation { id: format!("D-{n:012x}"), ..of.clone() }
}

#[test]
fn a_year_of_60_controls_with_10_jobs_each_stays_below_10_mb() {
    let report = large();
    let size = page(&report).len();
    assert!(size < 10_000_000, "{size} bytes");
    assert!(size > 1_000_000, "{size} bytes: it is not as large as it should be");
}

#[test]
fn the_same_report_gives_the_same_bytes_and_a_failing_writer_fails() {
    assert_eq!(page(&awkward("plain")), page(&awkward("plain")));
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(write(&empty(), &mut Full).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn every_file_that_the_page_names_is_a_table_of_the_report() {
    let mut report = large();
    report.more_drift = 9_000;
    report.jobs = (0..600).map(|_| report.jobs[0].clone()).collect();
    report.jobs[0].uncovered = vec![report.jobs[0].uncovered[0].clone(); 30];
    let page = said(&report);
    let named: std::collections::BTreeSet<&str> =
        page.split("<a href=\"").skip(1).filter_map(|rest| rest.split('"').next()?.strip_suffix(".csv")).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(crate::csv::TABLES.iter().any(|table| table.name == name) || name == crate::csv::DRIFT.name, "{name}");
    }
}
