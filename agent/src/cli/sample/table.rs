//! The auditor's own table of sizes, as data. None is built in: nobody prescribes one.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use controls::Frequency;
use serde::Deserialize;

/// A row: the first one that fits gives the size.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Row {
    /// As in the control; none: every one.
    frequency: Option<Frequency>,
    /// The smallest population; none: 0.
    from: Option<u64>,
    /// The largest one; none: no end.
    to: Option<u64>,
    /// How many.
    size: u64,
    /// Where it comes from; for people.
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    sizes: Vec<Row>,
}

/// The size for a population by the table, and in words where it comes from.
pub(super) fn size(path: &Path, frequency: Frequency, count: u64) -> anyhow::Result<(u64, String)> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let rows = match csv {
        true => from_csv(&text),
        false => serde_saphyr::from_str::<Table>(&text).map(|table| table.sizes).map_err(anyhow::Error::from),
    };
    let rows = rows.with_context(|| path.display().to_string())?;
    let fits = |row: &Row| {
        row.frequency.is_none_or(|own| own == frequency)
            && count >= row.from.unwrap_or(0)
            && row.to.is_none_or(|to| count <= to)
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match rows.iter().position(fits) {
        Some(at) => {
            let source = rows[at].source.as_ref().map_or(String::new(), |source| format!(" ({source})"));
            Ok((rows[at].size, format!("row {} of {name}{source}", at + 1)))
        }
        None => bail!("no row of {name} fits a control that is {frequency:?} and a population of {count}"),
    }
}

/// `frequency,from,to,size,source` in this order, with a first line that names them; a source comes last and may hold commas.
fn from_csv(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    if lines.next() != Some("frequency,from,to,size,source") {
        bail!("its first line must be: frequency,from,to,size,source");
    }
    let mut rows = Vec::new();
    for (at, line) in lines.enumerate() {
        let cells: Vec<&str> = line.splitn(5, ',').map(|cell| cell.trim().trim_matches('"')).collect();
        let &[frequency, from, to, size, ref source @ ..] = cells.as_slice() else {
            bail!("row {} has not its five cells", at + 1);
        };
        let number = |cell: &str| -> anyhow::Result<Option<u64>> {
            match cell {
                "" => Ok(None),
                digits => digits.parse().map(Some).with_context(|| format!("row {}: {digits:?} is no number", at + 1)),
            }
        };
        let frequency = match frequency {
            "" => None,
            name => {
                let name = serde_json::Value::String(name.to_owned());
                Some(serde_json::from_value(name).with_context(|| format!("row {}: the frequency", at + 1))?)
            }
        };
        rows.push(Row {
            frequency,
            from: number(from)?,
            to: number(to)?,
            size: number(size)?.with_context(|| format!("row {} has no size", at + 1))?,
            source: source.first().filter(|source| !source.is_empty()).map(|source| (*source).to_owned()),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn the_first_row_that_fits_gives_the_size_in_both_forms_and_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("sizes.csv");
        fs::write(&csv, "frequency,from,to,size,source\nannual,,,1,firm, page 3\ndaily,,250,20,\n,251,,40,\n").unwrap();
        let yaml = dir.path().join("sizes.yaml");
        let text = "sizes:\n- {frequency: annual, size: 1, source: 'firm, page 3'}\n- {frequency: daily, to: 250, size: 20}\n\
                    - {from: 251, size: 40}\n";
        fs::write(&yaml, text).unwrap();
        for path in [&csv, &yaml] {
            let name = path.file_name().unwrap().to_str().unwrap();
            let one = size(path, Frequency::Annual, 1).unwrap();
            assert_eq!(one, (1, format!("row 1 of {name} (firm, page 3)")));
            assert_eq!(size(path, Frequency::Daily, 250).unwrap().0, 20);
            assert_eq!(size(path, Frequency::Daily, 251).unwrap().0, 40);
            assert!(size(path, Frequency::Weekly, 52).unwrap_err().to_string().contains("52"));
        }
        for wrong in [
            "frequency,size\n",
            "frequency,from,to,size,source\ndaily,,,many,\n",
            "frequency,from,to,size,source\nx,,,1,\n",
        ] {
            fs::write(&csv, wrong).unwrap();
            assert!(size(&csv, Frequency::Daily, 1).is_err(), "{wrong}");
        }
    }
}
