//! A sample by itself, from a package ([`crate::package::sample`]): each entry proved as one alone is, the population the one that the log
//! froze, and the items those that the seed draws from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    EntryVerdict, Options, entry,
    findings::{CannotVerify, Code, Finding, Findings, Limit},
    report::{Section, plural},
    source::{Fetched, fetch},
    view::View,
};
use crate::{
    digest::Digest,
    layout,
    package::{
        ABOUT, README,
        sample::{self, MOST_BEFORE, PAGE, POPULATION, SAMPLE, STRATA, StratumOf},
    },
    population::{
        FORMAT as POPULATION_FORMAT, Frozen, How, Item, KIND, List, MAX_LIST, PopulationDocument, Sample, Why, redraw,
    },
    statement::{Body, SUMS, Statement},
    store::Reader,
    time::{Utc, rfc3339},
};

/// The value of [`SampleVerdict::format`].
pub const FORMAT_SAMPLE: &str = "evidenced-sample-verdict/1";

/// What was found of a sample.
#[derive(Debug, Clone, Serialize)]
pub struct SampleVerdict {
    /// `evidenced-sample-verdict/1`.
    pub format: &'static str,
    /// Whether there are no findings. It says nothing about the controls.
    pub intact: bool,
    /// The last line, in words.
    pub statement: String,
    /// The log.
    pub origin: String,
    /// The root key's fingerprint that was trusted.
    pub trust: String,
    /// The control; empty where it cannot be read.
    pub control: String,
    /// Items of the sample.
    pub items: u64,
    /// Of those, items for which the log has nothing: they were not observed.
    pub without_evidence: u64,
    /// Entries in the package.
    pub entries: Vec<u64>,
    /// The trusted time by which the population's hash was in the log; `None`: nothing shows one.
    pub frozen_by: Option<Utc>,
    /// For people: what each part of the check came to.
    pub sections: Vec<Section>,
    /// In order of entry and name.
    pub findings: Vec<Finding>,
    /// All findings by code.
    pub findings_by_code: BTreeMap<Code, u64>,
    /// All findings.
    pub findings_total: u64,
    /// What is not proved.
    pub limits: Vec<Limit>,
}

/// Whether a package is of a sample; if not, [`entry`] is what verifies it.
///
/// # Errors
/// An object that cannot be read.
pub fn is_sample(reader: &dyn Reader) -> Result<bool, CannotVerify> {
    Ok(about(reader)?.is_some())
}

/// The log that the package says that it is of; `None` for another kind of package.
fn about(reader: &dyn Reader) -> Result<Option<String>, CannotVerify> {
    let Fetched::Bytes(bytes) = fetch(reader, ABOUT, 64 * 1024)? else { return Ok(None) };
    let about: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let member = |name: &str| about.as_ref()?.get(name)?.as_str().map(str::to_owned);
    Ok(member("origin").filter(|_| member("format").as_deref() == Some(sample::FORMAT)))
}

struct Checking<'a> {
    reader: &'a dyn Reader,
    findings: Findings,
    origin: String,
    /// Objects that nothing has explained yet.
    names: BTreeSet<String>,
    all: BTreeSet<String>,
    sections: Vec<Section>,
    limits: Vec<Limit>,
}

/// What is known of an entry that was verified.
struct Known {
    statement: Option<Statement>,
    verdict: EntryVerdict,
}

/// Verifies the package of a sample: offline, from its objects and one root fingerprint.
///
/// # Errors
/// As [`entry`].
pub fn sample(reader: &dyn Reader, options: &Options<'_>) -> Result<SampleVerdict, CannotVerify> {
    let Some(origin) = about(reader)? else {
        return Err(CannotVerify::new(ABOUT, "this is no package of a sample, as `evidenced sample` makes it"));
    };
    if let Some(wanted) = options.origin.as_ref().filter(|wanted| **wanted != origin) {
        let reason = format!("it is of the log {origin:?}, but {wanted:?} was asked for");
        return Err(CannotVerify::new(ABOUT, reason));
    }
    let mut all = BTreeSet::new();
    reader
        .list("", &mut |name| {
            all.insert(name.to_owned());
        })
        .map_err(|e| CannotVerify::read("the package", &e))?;
    let mut names = all.clone();
    for name in [ABOUT, README, SUMS, PAGE] {
        names.remove(name);
    }
    let checking = Checking {
        reader,
        findings: Findings::default(),
        origin,
        names,
        all,
        sections: Vec::new(),
        limits: Vec::new(),
    };
    checking.run(options)
}

impl Checking<'_> {
    fn finding(&self, code: Code, object: &str, says: impl Into<String>) {
        self.findings.add(code, object, None, says);
    }

    fn section(&mut self, name: &'static str, says: String) {
        self.sections.push(Section { name, says });
    }

    fn take(&mut self, name: &str) -> Result<Option<Vec<u8>>, CannotVerify> {
        self.names.remove(name);
        Ok(match fetch(self.reader, name, MAX_LIST)? {
            Fetched::Bytes(bytes) => Some(bytes),
            Fetched::Absent => {
                self.finding(Code::SampleMalformed, name, "it is not there");
                None
            }
            Fetched::TooLong => {
                self.finding(Code::SampleMalformed, name, format!("it is longer than {MAX_LIST} bytes"));
                None
            }
        })
    }

    /// A sample with its population, as two files.
    fn drawn(&mut self, sample: &str, list: &str) -> Result<Option<(Sample, List, Digest)>, CannotVerify> {
        let (first, second) = (self.take(sample)?, self.take(list)?);
        let (Some(first), Some(second)) = (first, second) else { return Ok(None) };
        let read = match Sample::from_bytes(&first) {
            Ok(read) => read,
            Err(says) => {
                self.finding(Code::SampleMalformed, sample, says);
                return Ok(None);
            }
        };
        let found = Digest::of(&second);
        let population = &read.population;
        let items = match List::parse(&second) {
            Ok(items) => items,
            Err(error) => {
                self.finding(Code::SamplePopulation, list, error.to_string());
                return Ok(None);
            }
        };
        if found != population.sha256 || items.items.len() as u64 != population.count {
            let says = format!(
                "it has {} items and the SHA-256 {found}; {sample} says {} and {}",
                items.items.len(),
                population.count,
                population.sha256
            );
            self.finding(Code::SamplePopulation, list, says);
        }
        Ok(Some((read, items, Digest::of(&first))))
    }

    fn run(mut self, options: &Options<'_>) -> Result<SampleVerdict, CannotVerify> {
        let drawn = self.drawn(SAMPLE, POPULATION)?;
        let mut entries: BTreeSet<u64> = drawn.iter().flat_map(|(sample, ..)| sample.entries()).collect();
        if drawn.is_none() {
            // Nothing says which there should be: those that are there are looked at.
            entries.extend(self.all.iter().filter_map(|name| sample::parse_proof(name)).map(|(index, _)| index));
        }
        let mut known = BTreeMap::new();
        for index in &entries {
            known.insert(*index, self.one(*index, options)?);
        }
        let mut frozen_by = None;
        if let Some((sample, list, _)) = &drawn {
            if sample.origin != self.origin {
                let says = format!("it is of the log {:?}, not {:?}", sample.origin, self.origin);
                self.finding(Code::Origin, SAMPLE, says);
            }
            self.items(sample, list, &known);
            self.redrawn(sample, list)?;
            frozen_by = self.frozen(sample, &known)?;
        }
        self.told(drawn.as_ref().map(|(sample, ..)| sample), &known);
        for name in std::mem::take(&mut self.names) {
            self.finding(Code::UnknownObject, &name, "a package of this sample has no such object");
        }
        let (findings, findings_by_code, findings_total) = self.findings.finish();
        let statement = match (findings_total, self.limits.len() as u64) {
            (0, n) => format!("SAMPLE INTACT, with {}. This says nothing about the controls.", plural(n, "limit")),
            (n, _) => format!("NOT INTACT: {}", plural(n, "finding")),
        };
        let sample = drawn.map(|(sample, ..)| sample);
        let items = sample.as_ref().map_or(&[][..], |sample| &sample.items);
        Ok(SampleVerdict {
            format: FORMAT_SAMPLE,
            intact: findings_total == 0,
            statement,
            origin: self.origin,
            trust: options.trust.clone(),
            items: items.len() as u64,
            without_evidence: items.iter().filter(|item| item.evidence.is_empty()).count() as u64,
            control: sample.map(|sample| sample.population.control).unwrap_or_default(),
            entries: entries.into_iter().collect(),
            frozen_by,
            sections: self.sections,
            findings,
            findings_by_code,
            findings_total,
            limits: self.limits,
        })
    }

    /// Verifies one entry, as if its package held it alone.
    fn one(&mut self, index: u64, options: &Options<'_>) -> Result<Known, CannotVerify> {
        let leaf = sample::leaf(index);
        let statement = match fetch(self.reader, &leaf, crate::log::MAX_LEAF as u64)? {
            Fetched::Bytes(bytes) => {
                Statement::from_bytes(&bytes).ok().map(|read| (read, Statement::leaf_digest(&bytes)))
            }
            Fetched::Absent | Fetched::TooLong => None,
        };
        let view = View::new(self.reader, &self.all, (&self.origin, index), statement.as_ref());
        let verdict = entry(&view, options)?;
        for finding in &verdict.findings {
            let object = view.outer(&finding.object);
            self.findings.add(finding.code, object, finding.index, &finding.says);
        }
        for inner in &view.names {
            self.names.remove(&view.outer(inner));
        }
        Ok(Known { statement: statement.map(|(statement, _)| statement), verdict })
    }

    /// That each item's evidence is what the population's list names.
    fn items(&self, sample: &Sample, list: &List, known: &BTreeMap<u64, Known>) {
        let by_id: BTreeMap<&str, &Item> = list.items.iter().map(|item| (item.id.as_str(), item)).collect();
        let mut ids = BTreeSet::new();
        for chosen in &sample.items {
            let item = &chosen.item;
            let finding = |code, says: String| self.findings.add(code, SAMPLE, item.entry, says);
            if !ids.insert(item.id.as_str()) {
                finding(Code::SampleDraw, format!("the item {:?} is in it twice", item.id));
            }
            match by_id.get(item.id.as_str()) {
                Some(listed) if *listed == item => {}
                _ if chosen.why == Why::Interim => {}
                Some(_) => {
                    finding(Code::SampleItem, format!("the population says otherwise of the item {:?}", item.id))
                }
                None => finding(Code::SampleItem, format!("the population has no item {:?}", item.id)),
            }
            let Some(entry) = item.entry else { continue };
            if !chosen.evidence.contains(&entry) {
                let says = format!("entry {entry}, which shows the item {:?}, is left out", item.id);
                finding(Code::SampleItem, says);
                continue;
            }
            let Some(statement) = known.get(&entry).and_then(|known| known.statement.as_ref()) else { continue };
            let fits = match &statement.body {
                Body::Receipt(receipt) => {
                    Some(&receipt.job) == item.job.as_ref() && Some(statement.subject[0].digest.sha256) == item.bundle
                }
                Body::Missed(missed) => Some(&missed.job) == item.job.as_ref() && item.bundle.is_none(),
                Body::Document(_) => false,
            };
            if !fits {
                let says = format!("entry {entry} is not of the job and bundle that the item {:?} names", item.id);
                finding(Code::SampleItem, says);
            }
        }
    }

    /// The draws that a sample continues, the newest first; `None`: one cannot be read, which is a finding.
    fn before(&mut self, sample: &Sample) -> Result<Option<Vec<(Sample, List)>>, CannotVerify> {
        let mut before: Vec<(Sample, List)> = Vec::new();
        let mut named = sample.interim.clone();
        while let Some(wanted) = named {
            let back = before.len() + 1;
            let object = sample::interim(back, SAMPLE);
            if back > MOST_BEFORE {
                self.finding(Code::SampleMalformed, SAMPLE, format!("it continues more than {MOST_BEFORE} draws"));
                return Ok(None);
            }
            let Some((first, list, digest)) = self.drawn(&object, &sample::interim(back, POPULATION))? else {
                return Ok(None);
            };
            if digest != wanted.sample || first.population.sha256 != wanted.population || first.to != wanted.to {
                self.finding(Code::SamplePopulation, &object, "it is not the draw that the later one names");
            }
            if first.population.control != sample.population.control || first.origin != sample.origin {
                self.finding(Code::SamplePopulation, &object, "it is of another control, or of another log");
            }
            named = first.interim.clone();
            before.push((first, list));
        }
        Ok(Some(before))
    }

    /// Draws again.
    fn redrawn(&mut self, sample: &Sample, list: &List) -> Result<(), CannotVerify> {
        let Some(before) = self.before(sample)? else { return Ok(()) };
        for (place, (stage, list)) in before.iter().enumerate() {
            // What a draw's own strata were is not here: then its items are its own word.
            if stage.procedure.strata.as_ref().is_none_or(|strata| strata.by == "job") {
                self.again(stage, list, None, &before[place + 1..], &sample::interim(place + 1, SAMPLE));
            } else {
                let says = "a draw that is continued is not made again: its strata are in its own package";
                self.limits.push(Limit { code: "SAMPLE-INTERIM", says: says.to_owned() });
            }
        }
        if let Some((stage, _)) = before.first() {
            let ends = before
                .iter()
                .rev()
                .map(|(stage, _)| format!("to {}: {}", rfc3339(stage.to), plural(stage.items.len() as u64, "item")));
            let says = ends.collect::<Vec<_>>().join("; ");
            let added = sample.items.len().saturating_sub(stage.items.len());
            self.section("stages", format!("{says}; to {}: {added} more", rfc3339(sample.to)));
        }
        let mut strata = None;
        if sample.procedure.strata.as_ref().is_some_and(|strata| strata.by != "job") {
            let Some(bytes) = self.take(STRATA)? else { return Ok(()) };
            let lines: Result<Vec<StratumOf>, _> =
                bytes.split_inclusive(|b| *b == b'\n').map(serde_json::from_slice).collect();
            let Ok(lines) = lines else {
                self.finding(Code::SampleMalformed, STRATA, "a line of it does not name an item and its stratum");
                return Ok(());
            };
            let says = "to which stratum items belong is not shown by the package: the records of the archive show it, and \
                        `evidenced sample` with the same seed draws the same from them";
            self.limits.push(Limit { code: "SAMPLE-STRATA", says: says.to_owned() });
            strata = Some(lines.into_iter().map(|line| (line.id, line.stratum)).collect());
        }
        self.again(sample, list, strata, &before, SAMPLE);
        Ok(())
    }

    fn again(
        &self,
        sample: &Sample,
        list: &List,
        strata: Option<BTreeMap<String, String>>,
        before: &[(Sample, List)],
        object: &str,
    ) {
        let finding = |says: String| self.finding(Code::SampleDraw, object, says);
        let procedure = &sample.procedure;
        if procedure.how == How::Ids {
            let named = sample.items.iter().filter(|item| item.why == Why::Named).count();
            if named != sample.items.len() || procedure.seed.is_some() {
                finding("items that were named and items that were drawn are mixed".to_owned());
            }
            return;
        }
        if procedure.seed.is_none() {
            return finding("it names no seed".to_owned());
        }
        let strata = match &procedure.strata {
            Some(by) if by.by == "job" => {
                Some(list.items.iter().map(|item| (item.id.clone(), item.job_name().to_owned())).collect())
            }
            _ => strata,
        };
        match redraw(list, procedure, strata.as_ref(), before) {
            Err(says) => finding(says),
            Ok(drawn) => {
                let wanted: Vec<&str> = drawn.items.iter().map(|(item, _)| item.id.as_str()).collect();
                let found: Vec<&str> = sample.items.iter().map(|chosen| chosen.item.id.as_str()).collect();
                let left_out: Vec<&str> = wanted.iter().filter(|id| !found.contains(id)).copied().collect();
                let added: Vec<&str> = found.iter().filter(|id| !wanted.contains(id)).copied().collect();
                if !left_out.is_empty() || !added.is_empty() {
                    finding(format!("the seed draws {left_out:?}, which it lacks, and not {added:?}, which it has"));
                } else if wanted != found {
                    finding("its items are not in the order in which the seed draws them".to_owned());
                }
                for ((item, why), chosen) in drawn.items.iter().zip(&sample.items) {
                    if item.id == chosen.item.id && (*item != chosen.item || *why != chosen.why) {
                        finding(format!("it says otherwise of the item {:?} than what it is drawn from", item.id));
                    }
                }
                if procedure.strata.as_ref().map_or(&[][..], |strata| &strata.strata) != drawn.strata {
                    finding("its strata are not those of the population".to_owned());
                }
            }
        }
    }

    /// That the log holds the population's hash, and by when.
    fn frozen(&mut self, sample: &Sample, known: &BTreeMap<u64, Known>) -> Result<Option<Utc>, CannotVerify> {
        let Some(Frozen { entry, document }) = sample.frozen else {
            let says =
                "the population's hash is not in the log: whether it was fixed before the seed was chosen is not shown";
            self.limits.push(Limit { code: "SAMPLE-NOT-FROZEN", says: says.to_owned() });
            return Ok(None);
        };
        let name = layout::document(KIND, document);
        let statement = known.get(&entry).and_then(|known| known.statement.as_ref());
        let logs = statement.is_some_and(|statement| {
            matches!(&statement.body, Body::Document(said) if said.kind == KIND)
                && statement.subject[0].digest.sha256 == document
        });
        if !logs {
            let says = format!("entry {entry} does not log the population {document}");
            self.finding(Code::SamplePopulation, SAMPLE, says);
            return Ok(None);
        }
        // Its digest was compared with the entry.
        let Fetched::Bytes(bytes) = fetch(self.reader, &name, crate::population::MAX_DOCUMENT)? else {
            return Ok(None);
        };
        if Digest::of(&bytes) != document {
            return Ok(None);
        }
        let frozen = match PopulationDocument::from_bytes(&bytes) {
            Ok(frozen) => frozen,
            Err(says) => {
                self.finding(Code::DocumentMalformed, &name, says);
                return Ok(None);
            }
        };
        let own = PopulationDocument {
            format: POPULATION_FORMAT.to_owned(),
            origin: sample.origin.clone(),
            from: sample.from,
            to: sample.to,
            as_of: sample.as_of,
            populations: Vec::new(),
        };
        let wanted = &sample.population;
        let same = frozen.find(&wanted.control, wanted.of, wanted.kind.as_deref()) == Some(wanted);
        if !same || (PopulationDocument { populations: Vec::new(), ..frozen }) != own {
            let says = format!(
                "entry {entry} froze another population of {} than the one that was drawn from",
                wanted.control
            );
            self.finding(Code::SamplePopulation, POPULATION, says);
            return Ok(None);
        }
        let by = known.get(&entry).and_then(|known| known.verdict.not_after);
        if by.is_none() {
            let says = format!(
                "no trusted time shows by when the population's hash was in the log (entry {entry}): whether it was fixed before the seed \
                 was chosen is not shown"
            );
            self.limits.push(Limit { code: "SAMPLE-NOT-FROZEN", says });
        }
        Ok(by)
    }

    /// What it came to, in words.
    fn told(&mut self, sample: Option<&Sample>, known: &BTreeMap<u64, Known>) {
        let proved = known.values().filter(|known| !known.verdict.proved_in.is_empty()).count();
        let says = format!("{}; {proved} of {} shown to be in it", self.origin, entries(known.len()));
        self.section("origin", says);
        if let Some(sample) = sample {
            let population = &sample.population;
            let (from, to) = (rfc3339(sample.from), rfc3339(sample.to));
            let of = match &population.kind {
                Some(kind) => format!("{} ({kind})", population.of.as_str()),
                None => population.of.as_str().to_owned(),
            };
            let frozen = match sample.frozen {
                Some(frozen) => {
                    let by = known.get(&frozen.entry).and_then(|known| known.verdict.not_after);
                    let by = by.map_or("at no trusted time".to_owned(), |by| format!("not after {}", rfc3339(by)));
                    format!("frozen in entry {}, {by}", frozen.entry)
                }
                None => "not frozen in the log".to_owned(),
            };
            let says = format!(
                "{of} of {}, {from} to {to}: {}, SHA-256 {}; {frozen}. {}",
                population.control,
                plural(population.count, "item"),
                population.sha256,
                sample.completeness
            );
            self.section("population", says);
            for gap in population.not_observed.iter().take(20) {
                let says = format!("{}, {} to {}: {}", gap.job_name(), rfc3339(gap.from), rfc3339(gap.to), gap.reason);
                self.section("unobserved", says);
            }
            if let Some(more) = population.not_observed.len().checked_sub(20).filter(|more| *more > 0) {
                self.section("unobserved", format!("and {more} more, in {SAMPLE}"));
            }
            let chosen = match &sample.procedure.seed {
                Some(seed) => format!("drawn with the seed {:?}", seed.to_string()),
                None => "named by id".to_owned(),
            };
            let without = sample.items.iter().filter(|item| item.evidence.is_empty()).count();
            let without = match without {
                0 => String::new(),
                n => format!("; of {n} the log holds nothing: they were not observed"),
            };
            let says = format!("{}, {chosen}{without}", plural(sample.items.len() as u64, "item"));
            self.section("sample", says);
            for note in &sample.notes {
                self.section("note", note.clone());
            }
        }
        let says = "the package does not show that the population's list follows from the archive: \
                    `evidenced population … --check` on the archive does";
        self.limits.push(Limit { code: "SAMPLE-LIST", says: says.to_owned() });
        let mut of_entries: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
        for limit in known.values().flat_map(|known| &known.verdict.limits).filter(|limit| limit.code != "ONE-ENTRY") {
            let (count, _) = of_entries.entry(limit.code).or_insert_with(|| (0, limit.says.clone()));
            *count += 1;
        }
        for (code, (count, says)) in of_entries {
            let says = if code == "ONE-ENTRY-KEYS" { says } else { format!("{}: {says}", entries(count)) };
            self.limits.push(Limit { code, says });
        }
        let says = format!(
            "{} and no more: whether every slot has its receipt, and whether other entries were taken away or changed, the archive shows",
            entries(known.len())
        );
        self.limits.push(Limit { code: "ONE-ENTRY", says });
    }
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}
