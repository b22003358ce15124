//! A part of an archive by days.

use anyhow::{Context as _, bail};
use chrono::{Days, NaiveDate, NaiveTime};
use signing::verify::Part;

/// The part of an archive that is meant.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Dates {
    /// The first day, in UTC, of runs whose seals and bundles are meant (2026-01-31); without it, from the first on
    #[arg(long, value_name = "DAY")]
    pub from: Option<NaiveDate>,
    /// The last day, in UTC; without it, up to the last
    #[arg(long, value_name = "DAY")]
    pub to: Option<NaiveDate>,
}

impl Dates {
    /// As instants; `None`: all.
    ///
    /// # Errors
    /// Days of which none is meant.
    pub fn part(self) -> anyhow::Result<Option<Part>> {
        if self.from.is_none() && self.to.is_none() {
            return Ok(None);
        }
        let start = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let from = self.from.map_or(chrono::DateTime::UNIX_EPOCH, start);
        let to = match self.to {
            None => start(NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or(NaiveDate::MAX)),
            Some(day) => start(day.checked_add_days(Days::new(1)).context("--to is too late a day")?),
        };
        if from >= to {
            bail!("--from is after --to: no day is meant");
        }
        Ok(Some(Part { from, to }))
    }

    /// As arguments again.
    pub fn arguments(self) -> String {
        let named = [("--from", self.from), ("--to", self.to)];
        named.iter().filter_map(|(name, day)| day.map(|day| format!(" {name} {day}"))).collect()
    }
}
