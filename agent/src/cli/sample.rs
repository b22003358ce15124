//! `evidenced sample`: items of a population, chosen by the auditor's seed or ids, packed with what proves them.

mod table;

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use report::{
    Ledger,
    population::{
        self,
        sampling::{self, Choice, Drawn, Earlier},
    },
};
use signing::{
    bundle::{self, Bundle, MAX_UNPACKED},
    package::{
        Zipped,
        sample::{MOST_BEFORE, POPULATION, SAMPLE, interim},
    },
    population::{MAX_LIST, Seed},
    store::{Dir, Reader},
};
use verifier::{plain::safe, verify::Under};

use super::{
    place::Bucket,
    population::{Period, What, text, verified},
    prove::copy,
};
use crate::durable::{Created, Disk};

/// A sample of a control's population, with what proves it.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("how_many").required(true).args(["size", "table", "ids"]))]
pub struct Args {
    /// The archive, or one origin in it: a directory, or s3://BUCKET/PREFIX; without it, the configuration's
    archive: Option<PathBuf>,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    bucket: Bucket,
    #[command(flatten)]
    period: Period,
    /// The control, by id
    #[arg(long, value_name = "ID")]
    control: String,
    #[command(flatten)]
    what: What,
    /// How many items; of a smaller population all
    #[arg(long, value_name = "N")]
    size: Option<u64>,
    /// Your own table of sizes (YAML or CSV), by the control's frequency, the population's size, or both
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A file of ids, one a line: those items and no others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "stratify", "interim"])]
    ids: Option<PathBuf>,
    /// What you chose after you knew the population's hash, such as the digits of a die: 1 to 200 bytes
    #[arg(long, value_name = "TEXT", required_unless_present = "ids")]
    seed: Option<Seed>,
    /// Draw from each stratum its share: by job, or by a field of the records
    #[arg(long, value_name = "FIELD")]
    stratify: Option<String>,
    /// The package of the draw before, which may itself continue one: its items stay, and the rest comes from what was in no earlier
    /// population
    #[arg(long, value_name = "PACKAGE")]
    interim: Option<PathBuf>,
    /// Where to: a ZIP by its ending, else a directory; nothing is replaced
    #[arg(short, long, value_name = "DIR|ZIP")]
    output: PathBuf,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// An archive that cannot be verified, ids that the population lacks, a population that differs from what the log froze, and a place that
/// holds something else.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let period = args.period.instants(args.config.as_deref())?;
    let (archive, bucket) = args.bucket.of(args.archive.as_deref(), args.config.as_deref())?;
    let earlier = args.interim.as_deref().map(earlier).transpose()?.unwrap_or_default();
    let (opened, verdict) = verified(&archive, &args.under, &bucket)?;
    let ledger = Ledger::new(&*opened.reader, &verdict)?;
    let compared = population::compared(&ledger, &args.what.question(&args.control, period, &verdict))?;
    if let Some(differs) = &compared.differs {
        bail!("the population is not the one that was frozen, so that nothing is drawn from it: {differs}");
    }
    let collected = &compared.collected;
    let choice = match (&args.ids, &args.seed) {
        (Some(ids), _) => {
            let text =
                fs::read_to_string(ids).with_context(|| format!("the ids in {} cannot be read", ids.display()))?;
            Choice::Ids(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
        }
        (None, Some(seed)) => {
            let (size, size_from) = match (&args.size, &args.table) {
                (Some(size), _) => (*size, "given".to_owned()),
                (None, Some(table)) => table::size(table, collected.frequency, collected.population.count)?,
                (None, None) => bail!("--size or --table says how many"),
            };
            Choice::Seed { seed: seed.clone(), size, size_from, strata: args.stratify.clone() }
        }
        (None, None) => bail!("a draw needs --seed"),
    };
    let mut drawn = sampling::sample(&ledger, collected, compared.frozen, &choice, &earlier)?;
    drawn.parts.page = Some(report::html::VERIFY_PAGE.as_bytes().to_vec());
    pack(&*opened.reader, &drawn, &args.output)?;
    let mut out = io::stdout().lock();
    out.write_all(text(&ledger, &compared).as_bytes())?;
    let place = args.output.display();
    let items = drawn.sample.items.len();
    writeln!(out, "sample     {items} {}, in {place}", if items == 1 { "item" } else { "items" })?;
    for note in &drawn.sample.notes {
        writeln!(out, "           {}", safe(note))?;
    }
    writeln!(out, "evidenced verify {place} --trust {} checks it alone.", verdict.trust)?;
    Ok(if verdict.intact { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The files of a draw, from its package, and of those that it continues: the newest first.
fn earlier(package: &Path) -> anyhow::Result<Vec<Earlier>> {
    let reader: Box<dyn Reader> = match package.is_file() {
        true => Box::new(Zipped::open(package).with_context(|| package.display().to_string())?),
        false => Box::new(Dir::new(package)),
    };
    let read = |name: &str| {
        let found = reader.read(name, MAX_LIST).with_context(|| format!("{}: {name}", package.display()))?;
        found.with_context(|| format!("{} has no {name}: is it the package of a sample?", package.display()))
    };
    let mut all = Vec::new();
    while all.is_empty() || reader.open(&interim(all.len(), SAMPLE))?.is_some() {
        if all.len() == MOST_BEFORE {
            bail!("{} continues {} draws; no more can be continued", package.display(), all.len() - 1);
        }
        let back = all.len();
        all.push(Earlier { sample: read(&interim(back, SAMPLE))?, population: read(&interim(back, POPULATION))? });
    }
    Ok(all)
}

/// Packs into a new ZIP, or a new directory.
fn pack(reader: &dyn Reader, drawn: &Drawn, output: &Path) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("no room for a copy; set TMPDIR")?;
    let objects = scratch.path().join("package");
    signing::package::sample::make(reader, &drawn.sample, &drawn.parts, &mut |name, content| {
        copy(&objects, name, content)
    })?;
    let zip = scratch.path().join("package.zip");
    let mut file = File::options().read(true).write(true).create_new(true).open(&zip)?;
    bundle::write(&objects, &mut file)?;
    let disk = Disk::new();
    let other = |path: &Path| format!("{} is there already, with other content; name another place", path.display());
    if output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip")) {
        return match disk.create_new_from(output, &zip).with_context(|| output.display().to_string())? {
            Created::Other => bail!(other(output)),
            _ => Ok(()),
        };
    }
    let mut packed = Bundle::open(file, MAX_UNPACKED)?;
    let names: Vec<String> = packed.names().map(str::to_owned).collect();
    let mut there = Vec::new();
    Dir::new(output).list("", &mut |name| there.push(name.to_owned()))?;
    if let Some(more) = there.iter().find(|name| !names.contains(name)) {
        bail!(other(&output.join(more)));
    }
    for name in names {
        let path = output.join(&name);
        disk.make_dirs(path.parent().unwrap_or(output))?;
        let unpacked = scratch.path().join("file");
        let mut file = File::options().write(true).create(true).truncate(true).open(&unpacked)?;
        io::copy(&mut packed.stream(&name)?.by_ref(), &mut file)?;
        if disk.create_new_from(&path, &unpacked).with_context(|| path.display().to_string())? == Created::Other {
            bail!(other(&path));
        }
    }
    Ok(())
}
