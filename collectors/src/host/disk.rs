//! `host/disk-encryption`: which mounted file systems and swap areas lie on dm-crypt, from the block devices that this host shows. It
//! never opens a device, and never guesses what lies below the host: encryption by a cloud provider, a hypervisor or the disk itself
//! is not visible here, and each record says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{Command, Host},
    kept::{Kept, Reading, record},
    scrub,
};
use crate::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Need, NeedKind, Population, Records, Spec,
    },
    redact::Redact,
};

const LSBLK: [&str; 5] = ["lsblk", "-J", "-b", "-o", "NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,SIZE,MOUNTPOINTS,UUID,RO,RM"];
/// util-linux before 2.37 knows one mount point a device.
const LSBLK_OLD: [&str; 5] =
    ["lsblk", "-J", "-b", "-o", "NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,SIZE,MOUNTPOINT,UUID,RO,RM"];
const MOUNTS: &str = "/proc/1/mountinfo";
const SWAPS: &str = "/proc/swaps";
const CRYPTTAB: &str = "/etc/crypttab";
/// Chains longer than this are not devices.
const DEPTH: usize = 32;

const CHECKS: &str = r#"
# $parameters.provider_encrypted_disks: disks such as /dev/vda of which other evidence shows that the provider encrypts them.
- id: volume-encrypted
  item: encryption_rest_block
  population: volume
  exempt: 'if .boot or .read_only_image then true elif .in_memory == null then null else .in_memory end or ((.disks // []) as $disks | $disks != [] and ($disks - ($parameters.provider_encrypted_disks // []) == []))'
  pass: .encrypted
  says: "{id} on {device} is not encrypted by this host ({why}); encryption by the provider or by the disk itself is not visible here"
  unknown: "whether {id} on {device} is encrypted is not known: {why}"
"#;

/// Encryption of mounted file systems and swap.
pub struct Disk {
    host: Host,
    spec: Spec,
}

impl Disk {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let spec = Spec {
            id: "host/disk-encryption".into(),
            version: 1,
            title: "Encryption of mounted block file systems and active swap".into(),
            source: "host".into(),
            schedule: "25 */6 * * *".into(),
            deadline: Duration::from_secs(180),
            needs: vec![
                need(NeedKind::Command, "lsblk", "what each file system lies on"),
                need(NeedKind::File, MOUNTS, "which file systems are mounted"),
                need(NeedKind::File, SWAPS, "which swap areas are active"),
                need(NeedKind::File, CRYPTTAB, "how encrypted devices are unlocked"),
                need(NeedKind::File, "/sys/block/zram*/backing_dev", "whether swap in memory may reach a disk"),
                need(NeedKind::File, "/sys/class/block/*/dm/uuid", "whether a mapped device encrypts or only verifies"),
            ],
            kinds: vec!["volume".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for Disk {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            let command = |argv: &[&str]| {
                Command::new(argv.iter().copied()).timeout(Duration::from_secs(30)).limit(8 << 20).json()
            };
            let mut devices = self.host.run(context, command(&LSBLK)).await?;
            if devices.answer == Answer::Failed && devices.stderr.contains("MOUNTPOINTS") {
                devices = self.host.run(context, command(&LSBLK_OLD)).await?;
            }
            let body = context.recorder.body(&devices)?;
            if let Ok(tree) = parse(&String::from_utf8_lossy(&body)) {
                for kname in tree.mapped() {
                    self.host.read_file(context, &uuid_path(&kname), &Redact::nothing()).await?;
                }
            }
            let mounts = self.host.read_file(context, MOUNTS, &Redact::nothing()).await?;
            let swaps = self.host.read_file(context, SWAPS, &Redact::nothing()).await?;
            let mounts = String::from_utf8_lossy(&context.recorder.body(&mounts)?).into_owned();
            let swaps = String::from_utf8_lossy(&context.recorder.body(&swaps)?).into_owned();
            let volumes = mounted(&mounts).into_iter().chain(swapping(&swaps)).flatten();
            let backing: BTreeSet<String> = volumes.filter_map(|volume| backing_path(&volume.device)).collect();
            for path in backing {
                self.host.read_file(context, &path, &Redact::nothing()).await?;
            }
            self.host.read_file(context, CRYPTTAB, &crypttab_redaction()).await?;
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive(&Kept::read(evidence)?, out)
    }
}

fn derive(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<()> {
    let mut devices = kept.command(&LSBLK)?;
    if let (Reading::Unknown(_), Some(_)) = (&devices, kept.run(&LSBLK_OLD)) {
        devices = kept.command(&LSBLK_OLD)?;
    }
    let tree = match &devices {
        Reading::Missing(why) | Reading::Unknown(why) => Err(why.clone()),
        Reading::Text(text) => parse(&text.text).map_err(|error| format!("lsblk: the answer cannot be read: {error}")),
    };
    let (mounts, swaps) = (kept.file(MOUNTS)?, kept.file(SWAPS)?);
    let mut cut = Vec::new();
    let mut volumes = Vec::new();
    match &mounts {
        Reading::Text(text) => match mounted(&text.text) {
            Some(found) => volumes.extend(found.into_iter().map(|volume| (text.exchange, volume))),
            None => cut.push(format!("{MOUNTS}: the answer is no list of mounts")),
        },
        Reading::Missing(why) | Reading::Unknown(why) => {
            cut.push(format!("{why}: the mounted file systems are not known"))
        }
    }
    match &swaps {
        Reading::Text(text) => match swapping(&text.text) {
            Some(found) => volumes.extend(found.into_iter().map(|volume| (text.exchange, volume))),
            None => cut.push(format!("{SWAPS}: the answer is no list of swap areas")),
        },
        Reading::Missing(why) | Reading::Unknown(why) => cut.push(format!("{why}: the active swap is not known")),
    }
    if let Err(why) = &tree
        && volumes.is_empty()
    {
        out.population("volume", Population::Unread(why.clone()));
        return Ok(());
    }
    let nothing = volumes.is_empty() && cut.is_empty();
    if nothing && tree.as_ref().is_ok_and(|tree| tree.roots.is_empty()) {
        let proof = "lsblk lists no block device, no block file system is mounted and no swap is active".to_string();
        out.population("volume", Population::Absent(proof));
        return Ok(());
    }
    if volumes.is_empty() && !cut.is_empty() {
        out.population("volume", Population::Unread(cut.join("; ")));
        return Ok(());
    }
    let unlocking = match kept.file(CRYPTTAB)? {
        Reading::Text(text) => Some(crypttab(&text.text)),
        Reading::Missing(_) => Some(BTreeMap::new()),
        Reading::Unknown(why) => {
            out.gap(why);
            None
        }
    };
    if let Err(why) = &tree {
        out.gap(why.clone());
    }
    let mut uuids = BTreeMap::new();
    for kname in tree.as_ref().map(Tree::mapped).unwrap_or_default() {
        if let Reading::Text(text) = kept.file(&uuid_path(&kname))? {
            uuids.insert(kname, text.text.trim().to_string());
        }
    }
    let mut ids = BTreeSet::new();
    for (exchange, volume) in volumes {
        if !ids.insert(volume.id.clone()) {
            continue;
        }
        let finding = match &tree {
            Err(why) => Finding::unknown(why.clone()),
            Ok(tree) => match (volume.purpose, &mounts) {
                ("swap file", Reading::Text(text)) => match carrier(&text.text, &volume.device) {
                    Some(below) => judge(tree, &below, &uuids),
                    None => Finding::unknown("the file system of the swap file is not among the mounts".into()),
                },
                _ => judge(tree, &volume, &uuids),
            },
        };
        let unlocked_by = finding.opened.as_ref().and_then(|name| unlocking.as_ref()?.get(name).cloned());
        let in_memory = in_memory(kept, &volume.device)?;
        let fields = json!({
            "device": volume.device,
            "use": volume.purpose,
            "file_system": volume.file_system,
            "encrypted": finding.encrypted,
            "why": finding.why,
            "chain": finding.chain,
            "disks": finding.disks,
            "unlocked_by": unlocked_by,
            "boot": is_in(&["/boot", "/boot/efi", "/efi"], &volume.id),
            "in_memory": in_memory,
            "read_only_image": is_in(&["squashfs", "erofs", "iso9660"], &volume.file_system),
            "provider_encryption": "unknown",
        });
        out.record("volume", record(volume.id, None, exchange, fields))?;
    }
    out.population("volume", if cut.is_empty() { Population::Whole } else { Population::Cut(cut.join("; ")) });
    Ok(())
}

/// Whether a device is of compressed memory alone; `None` where it may write to a disk.
fn in_memory(kept: &Kept<'_>, device: &str) -> io::Result<Option<bool>> {
    let Some(path) = backing_path(device) else { return Ok(Some(false)) };
    Ok(match kept.file(&path)? {
        Reading::Text(text) => (text.text.trim() == "none").then_some(true),
        // A kernel that cannot write zram back to a disk has no such file.
        Reading::Missing(_) => Some(true),
        Reading::Unknown(_) => None,
    })
}

/// Where the kernel names the disk behind a zram device.
fn backing_path(device: &str) -> Option<String> {
    let number = device.strip_prefix("/dev/zram")?;
    let plain = !number.is_empty() && number.len() <= 4 && number.chars().all(|c| c.is_ascii_digit());
    plain.then(|| format!("/sys/block/zram{number}/backing_dev"))
}

fn is_in(list: &[&str], name: &str) -> bool {
    list.contains(&name)
}

/// The block devices as lsblk shows them.
#[derive(Debug, Deserialize)]
struct Tree {
    #[serde(rename = "blockdevices")]
    roots: Vec<Device>,
}

#[derive(Debug, Deserialize)]
struct Device {
    name: String,
    kname: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(rename = "maj:min")]
    number: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    fstype: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    mountpoint: Option<String>,
    #[serde(default)]
    children: Vec<Device>,
}

fn parse(text: &str) -> Result<Tree, serde_json::Error> {
    serde_json::from_str(text)
}

impl Tree {
    /// Every way from a disk down to each device, the device last.
    fn chains(&self) -> Vec<Vec<&Device>> {
        fn below<'a>(device: &'a Device, above: &[&'a Device], all: &mut Vec<Vec<&'a Device>>) {
            let chain: Vec<&Device> = above.iter().copied().chain([device]).collect();
            if chain.len() < DEPTH {
                device.children.iter().for_each(|child| below(child, &chain, all));
            }
            all.push(chain);
        }
        let mut all = Vec::new();
        self.roots.iter().for_each(|root| below(root, &[], &mut all));
        all
    }

    /// The kernel names of what lsblk calls encrypted: dm-verity is among them, which encrypts nothing.
    fn mapped(&self) -> Vec<String> {
        let chains = self.chains();
        let crypt = chains.iter().filter_map(|chain| chain.last()).filter(|device| device.kind == "crypt");
        let names: BTreeSet<String> = crypt.map(|device| device.kname.clone()).collect();
        names.into_iter().filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')).take(256).collect()
    }
}

fn uuid_path(kname: &str) -> String {
    format!("/sys/class/block/{kname}/dm/uuid")
}

struct Finding {
    encrypted: Option<bool>,
    why: String,
    chain: Value,
    disks: Value,
    opened: Option<String>,
}

impl Finding {
    fn unknown(why: String) -> Self {
        Self { encrypted: None, why, chain: Value::Null, disks: Value::Null, opened: None }
    }
}

/// Whether a volume lies on encryption on every way from a disk to it.
fn judge(tree: &Tree, volume: &Volume, uuids: &BTreeMap<String, String>) -> Finding {
    let chains = tree.chains();
    let is_it = |device: &Device| {
        Some(&device.number) == volume.number.as_ref()
            || device.path.as_deref() == Some(&volume.device)
            || format!("/dev/{}", device.kname) == volume.device
    };
    let mut ways: Vec<&Vec<&Device>> = chains.iter().filter(|chain| chain.last().is_some_and(|d| is_it(d))).collect();
    if ways.is_empty() {
        let mounted = |d: &Device| d.mountpoints.iter().flatten().chain(&d.mountpoint).any(|point| *point == volume.id);
        ways = chains.iter().filter(|chain| chain.last().is_some_and(|d| mounted(d))).collect();
    }
    if ways.is_empty() {
        return Finding::unknown(format!("lsblk does not list {}: what it lies on is not visible", volume.device));
    }
    let words = |chain: &Vec<&Device>| {
        chain.iter().map(|device| format!("{} ({})", device.name, device.kind)).collect::<Vec<_>>().join(" > ")
    };
    let said: BTreeSet<String> = ways.iter().map(|chain| words(chain)).collect();
    let disks: BTreeSet<&str> = ways.iter().filter_map(|chain| chain[0].path.as_deref()).collect();
    let mut finding =
        Finding { encrypted: Some(true), chain: json!(said), disks: json!(disks), why: String::new(), opened: None };
    for way in ways {
        let (encrypted, why, opened) = way_encrypted(way, uuids);
        finding.opened = finding.opened.or(opened);
        // One open way makes the volume open; one unknown way makes it unknown unless another is open.
        let worse = match (finding.encrypted, encrypted) {
            (_, Some(false)) => finding.encrypted != Some(false),
            (Some(true), _) => true,
            _ => false,
        };
        if worse || finding.why.is_empty() {
            (finding.encrypted, finding.why) = (encrypted, why);
        }
    }
    // Several devices may carry one btrfs or ZFS file system, and only one of them is named as mounted.
    if finding.encrypted == Some(true) && is_in(&["btrfs", "bcachefs", "zfs"], &volume.file_system) {
        let members: Vec<&Device> = chains
            .iter()
            .filter_map(|chain| chain.last().copied())
            .filter(|d| d.fstype.as_deref() == Some(&volume.file_system) && !is_it(d))
            .collect();
        if !members.is_empty() {
            finding.encrypted = None;
            finding.why =
                format!("a {} file system may have more devices than the one that is mounted", volume.file_system);
        }
    }
    finding
}

fn way_encrypted(way: &[&Device], uuids: &BTreeMap<String, String>) -> (Option<bool>, String, Option<String>) {
    let mut doubt = None;
    for (at, device) in way.iter().enumerate() {
        if device.kind == "loop" {
            doubt = Some(format!("{} is a loop device: the file behind it was not followed", device.name));
        }
        if device.kind != "crypt" {
            continue;
        }
        let parent = at.checked_sub(1).and_then(|above| way[above].fstype.as_deref());
        match uuids.get(&device.kname).map(String::as_str) {
            Some(uuid) if uuid.starts_with("CRYPT-VERITY") || uuid.starts_with("CRYPT-INTEGRITY") => {}
            Some(uuid) if uuid.starts_with("CRYPT-") => {
                return (Some(true), format!("{} is dm-crypt", device.name), Some(device.name.clone()));
            }
            _ if matches!(parent, Some("crypto_LUKS" | "BitLocker")) => {
                return (
                    Some(true),
                    format!("{} opens a {} device", device.name, parent.unwrap_or("")),
                    Some(device.name.clone()),
                );
            }
            _ => doubt = Some(format!("{} may be dm-crypt or dm-verity: its kind was not read", device.name)),
        }
    }
    match doubt {
        Some(doubt) => (None, doubt, None),
        None => (Some(false), "no dm-crypt device lies below it".into(), None),
    }
}

/// A mounted file system or active swap area.
#[derive(Debug)]
struct Volume {
    id: String,
    device: String,
    number: Option<String>,
    purpose: &'static str,
    file_system: String,
}

/// One volume for each block device that `mountinfo` shows mounted: bind mounts and further mounts are the same volume.
fn mounted(text: &str) -> Option<Vec<Volume>> {
    let mut volumes: Vec<(bool, Volume)> = Vec::new();
    let mut lines = 0;
    for line in text.lines() {
        let (root, volume) = mount(line)?;
        lines += 1;
        // A device's number tells more than its name, which whoever mounted it chose.
        let block = volume.number.is_some()
            || volume.device.starts_with("/dev/")
            || is_in(&["zfs", "bcachefs"], &volume.file_system);
        if !block || volume.file_system == "devtmpfs" {
            continue;
        }
        let whole = root == "/" || volume.file_system == "btrfs";
        let key = volume.number.clone().unwrap_or_else(|| volume.device.clone());
        let same = volumes.iter().position(|(_, v)| v.number.clone().unwrap_or_else(|| v.device.clone()) == key);
        match same {
            Some(at) if whole && !volumes[at].0 => volumes[at] = (whole, volume),
            Some(_) => {}
            None => volumes.push((whole, volume)),
        }
    }
    (lines > 0 && text.ends_with('\n')).then(|| volumes.into_iter().map(|(_, volume)| volume).collect())
}

/// One line of `mountinfo`: the part of the file system that is mounted, and the volume.
fn mount(line: &str) -> Option<(&str, Volume)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let dash = fields.iter().position(|field| *field == "-")?;
    let (number, root, id) = (*fields.get(2)?, *fields.get(3)?, unescape(fields.get(4)?));
    let (kind, device) = (*fields.get(dash + 1)?, unescape(fields.get(dash + 2)?));
    // btrfs and ZFS numbers are no device's.
    let number = (!number.starts_with("0:")).then(|| number.to_string());
    Some((root, Volume { id, device, number, purpose: "file system", file_system: kind.into() }))
}

/// The file system that holds a file: the longest mount point above it, the last one mounted there.
fn carrier(text: &str, file: &str) -> Option<Volume> {
    let above = |point: &str| point == "/" || file.strip_prefix(point).is_some_and(|rest| rest.starts_with('/'));
    let mounts = text.lines().filter_map(|line| mount(line).map(|(_, volume)| volume));
    mounts.filter(|volume| above(&volume.id)).max_by_key(|volume| volume.id.len())
}

/// Spaces and the like are octal in `/proc`.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_string(), |text, (code, plain)| text.replace(code, plain))
}

/// Active swap, file or device. A swap file's device is its path; what it lies on is its file system's.
fn swapping(text: &str) -> Option<Vec<Volume>> {
    let mut lines = text.lines();
    if !lines.next()?.starts_with("Filename") {
        return None;
    }
    let volumes = lines.map(|line| {
        let mut fields = line.split_whitespace();
        let (device, kind) = (unescape(fields.next()?), fields.next()?);
        let purpose = if kind == "file" { "swap file" } else { "swap" };
        Some(Volume { id: format!("swap {device}"), device, number: None, purpose, file_system: "swap".into() })
    });
    volumes.collect()
}

/// How `crypttab` unlocks each name.
fn crypttab(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entries = lines.filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, _device) = (fields.next()?, fields.next()?);
        let (key, options) = (fields.next().unwrap_or("none"), fields.next().unwrap_or(""));
        let how = match key {
            _ if options.contains("keyscript=") => "a key script",
            _ if options.contains("tpm2-device=") => "the TPM",
            _ if options.contains("fido2-device=") || options.contains("pkcs11-uri=") => "a security token",
            "none" | "-" => "a passphrase asked for",
            "/dev/urandom" | "/dev/random" | "/dev/hw_random" => "a random key at each start",
            key if key.starts_with('/') => "a key file",
            _ => "unknown",
        };
        Some((name.to_string(), how.to_string()))
    });
    entries.collect()
}

/// The third field of `crypttab` is a path, a placeholder, or what a key script is given, which may be the secret itself.
fn crypttab_redaction() -> Redact {
    let redact = Redact::nothing().line("crypttab-key-argument", "/etc/crypttab field 3", |line| {
        let text = String::from_utf8_lossy(line);
        if text.trim_start().starts_with('#') {
            // A comment may be an entry that was taken out.
            return (text.split_whitespace().count() >= 3).then(|| b"# removed".to_vec());
        }
        let key = text.split_whitespace().nth(2)?;
        let options = text.split_whitespace().nth(3).unwrap_or("");
        let plain = ["none", "-"].contains(&key) || (key.starts_with('/') && !options.contains("keyscript="));
        let words = text.split_whitespace().enumerate();
        (!plain).then(|| words.map(|(at, w)| if at == 2 { "removed" } else { w }).collect::<Vec<_>>().join(" ").into())
    });
    scrub::values_of(redact, "crypttab-pin", "/etc/crypttab field 4", &["pin-value", "pin", "password", "passphrase"])
}

#[cfg(test)]
mod tests;
