//! Last logins, from what `lastlog`, `lastlog2` and `last -F -w` print in UTC. It never takes "no entry" for "never": the files behind
//! these programs are rotated, and not every login writes them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

/// The newest login of each name in the output of `lastlog` or `lastlog2`.
pub(super) fn lastlog(text: &str) -> BTreeMap<String, DateTime<Utc>> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(tail)) = (words.first(), words.len().checked_sub(6)) else { continue };
        // Fri Nov 20 10:00:00 +0000 2026
        if let [_, month, day, time, "+0000", year] = words[tail..]
            && let Some(at) = instant(month, day, time, year)
        {
            keep_newest(&mut found, name, at);
        }
    }
    found
}

/// The newest login of each name in the output of `last -F -w`.
pub(super) fn last(text: &str) -> BTreeMap<String, DateTime<Utc>> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(name) = words.first() else { continue };
        if matches!(*name, "reboot" | "shutdown" | "runlevel") || matches!(words.get(1), Some(&"begins")) {
            continue;
        }
        // The first date of a line is when the session began: Fri Nov 20 10:00:00 2026
        let began = words.windows(5).find_map(|part| match part {
            &[weekday, month, day, time, year] if WEEKDAYS.contains(&weekday) => instant(month, day, time, year),
            _ => None,
        });
        if let Some(at) = began {
            keep_newest(&mut found, name, at);
        }
    }
    found
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn keep_newest(found: &mut BTreeMap<String, DateTime<Utc>>, name: &str, at: DateTime<Utc>) {
    let kept = found.entry(name.to_string()).or_insert(at);
    *kept = at.max(*kept);
}

fn instant(month: &str, day: &str, time: &str, year: &str) -> Option<DateTime<Utc>> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u32 + 1;
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month, day.parse().ok()?)?;
    Some(date.and_time(NaiveTime::parse_from_str(time, "%H:%M:%S").ok()?).and_utc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_session_counts_and_reboots_are_nobody() {
        let text = "alice    pts/0        10.0.0.1         Thu Nov 19 10:00:00 2026   still logged in\n\
                    alice    pts/0        10.0.0.1         Fri Nov 20 10:00:00 2026 - Fri Nov 20 11:00:00 2026  (01:00)\n\
                    reboot   system boot  6.1.0-28-amd64   Sat Nov 21 10:00:00 2026   still running\n\
                    bob      tty1                          Sun Feb 30 10:00:00 2026 - crash\n\
                    \n\
                    wtmp begins Tue May 20 00:00:00 2025\n";
        let found = last(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found["alice"].to_rfc3339(), "2026-11-20T10:00:00+00:00");
    }

    #[test]
    fn never_logged_in_is_no_date() {
        let text = "Username         Port     From                                       Latest\n\
                    root                                                                **Never logged in**\n\
                    alice            pts/0    10.0.0.1                                  Fri Nov 20 10:00:00 +0000 2026\n\
                    carol            pts/0    10.0.0.1                                  Fri Nov 20 10:00:00 +0100 2026\n";
        let found = lastlog(text);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["alice"],
            "another zone than the one asked for is not understood"
        );
    }
}
