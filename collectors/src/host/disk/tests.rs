//! What `host/disk-encryption` derives, failure first.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::{FakeEvidence, MemoryRecords};

const LUKS: &str = include_str!("../fixtures/disk/lsblk.luks.json");
const LUKS_MOUNTS: &str = include_str!("../fixtures/disk/mountinfo.luks");
const LUKS_SWAPS: &str = include_str!("../fixtures/disk/swaps.luks");
const NO_SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

fn run(evidence: &FakeEvidence) -> (MemoryRecords, Population) {
    let mut out = MemoryRecords::default();
    Disk::new(Host::new("/", None)).derive(evidence, &mut out).unwrap();
    let population = out.populations["volume"].clone();
    (out, population)
}

fn luks() -> FakeEvidence {
    FakeEvidence::new().file(MOUNTS, LUKS_MOUNTS).file(SWAPS, LUKS_SWAPS)
}

fn with_uuid(uuid: &str) -> FakeEvidence {
    luks()
        .command(&LSBLK, 0, LUKS)
        .file("/sys/class/block/dm-0/dm/uuid", format!("{uuid}\n"))
        .file(CRYPTTAB, "nvme0n1p3_crypt UUID=0d6a none luks,discard\n")
}

#[test]
fn each_mounted_block_file_system_and_swap_is_one_volume() {
    let (out, population) = run(&with_uuid("CRYPT-LUKS2-0d6a-nvme0n1p3_crypt"));
    assert_eq!(population, Population::Whole);
    let told: Vec<(String, Value)> =
        out.of("volume").iter().map(|row| (row["id"].as_str().unwrap().into(), row["encrypted"].clone())).collect();
    let expected = [("/", true), ("/boot", false), ("/boot/efi", false), ("/srv", false), ("swap /dev/dm-2", true)];
    assert_eq!(told, expected.map(|(id, encrypted)| (id.to_string(), json!(encrypted))));
    let root = out.get("volume", "/");
    assert_eq!(root["disks"], json!(["/dev/nvme0n1"]));
    assert_eq!(root["unlocked_by"], "a passphrase asked for");
    assert_eq!(root["chain"][0], "nvme0n1 (disk) > nvme0n1p3 (part) > nvme0n1p3_crypt (crypt) > vg-root (lvm)");
    assert_eq!((&out.get("volume", "/boot")["boot"], &root["boot"]), (&json!(true), &json!(false)));
}

#[test]
fn swap_in_memory_counts_as_such_only_while_it_cannot_reach_a_disk() {
    let swaps = format!("{NO_SWAPS}/dev/zram0 partition 1 0 100\n");
    let zram = FakeEvidence::new().command(&LSBLK, 0, LUKS).file(MOUNTS, LUKS_MOUNTS).file(SWAPS, swaps);
    let of = |evidence: FakeEvidence| run(&evidence).0.get("volume", "swap /dev/zram0")["in_memory"].clone();
    let path = "/sys/block/zram0/backing_dev";
    assert_eq!(of(zram.clone().file(path, "none\n")), json!(true));
    assert_eq!(of(zram.clone().no_file(path, Answer::Missing, "no such file")), json!(true));
    assert_eq!(of(zram.clone().file(path, "/dev/sda3\n")), Value::Null);
    assert_eq!(of(zram), Value::Null, "not asked");
}

#[test]
fn a_block_device_mounted_by_another_name_is_a_volume() {
    let mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:17 / /data rw - xfs data-disk rw\n";
    let (out, _) = run(&FakeEvidence::new().command(&LSBLK, 0, LUKS).file(MOUNTS, mounts).file(SWAPS, NO_SWAPS));
    assert_eq!(out.get("volume", "/data")["encrypted"], Value::Null);
}

#[test]
fn verity_is_not_encryption_and_an_unread_kind_is_unknown() {
    let (out, _) = run(&with_uuid("CRYPT-VERITY-1-root"));
    assert_eq!(out.get("volume", "/")["encrypted"], json!(false));
    let plain = LUKS.replace("crypto_LUKS", "other");
    let (out, _) = run(&luks().command(&LSBLK, 0, plain));
    assert_eq!(out.get("volume", "/")["encrypted"], Value::Null);
    let (out, _) = run(&luks().command(&LSBLK, 0, LUKS));
    assert_eq!(out.get("volume", "/")["encrypted"], json!(true), "a LUKS device below proves it");
}

#[test]
fn this_machines_virtual_disk_is_not_encrypted_and_its_provider_unknown() {
    let evidence = FakeEvidence::new()
        .command(&LSBLK, 0, include_str!("../fixtures/disk/lsblk.vm.json"))
        .file(MOUNTS, include_str!("../fixtures/disk/mountinfo.vm"))
        .file(SWAPS, NO_SWAPS)
        .no_file(CRYPTTAB, Answer::Missing, "no such file");
    let (out, population) = run(&evidence);
    assert_eq!((out.of("volume").len(), population), (1, Population::Whole));
    let root = out.get("volume", "/");
    assert_eq!((&root["encrypted"], &root["provider_encryption"]), (&json!(false), &json!("unknown")));
    assert!(out.gaps.is_empty());
}

#[test]
fn without_lsblk_every_volume_is_unknown_and_without_mounts_the_list_is_unread() {
    let (out, population) = run(&luks().no_command(&LSBLK, Answer::Missing, "no program lsblk"));
    assert!(out.of("volume").iter().all(|row| row["encrypted"].is_null()) && out.of("volume").len() == 5);
    assert_eq!(population, Population::Whole);
    assert!(out.gaps.iter().any(|gap| gap.contains("no program lsblk")));
    let none = FakeEvidence::new().no_command(&LSBLK, Answer::TimedOut, "no end within 30 s");
    assert!(matches!(run(&none).1, Population::Unread(why) if why.contains("no end within 30 s")));
    let denied = FakeEvidence::new()
        .command(&LSBLK, 0, LUKS)
        .no_file(MOUNTS, Answer::Denied, "permission denied")
        .file(SWAPS, NO_SWAPS);
    assert!(matches!(run(&denied).1, Population::Unread(why) if why.contains("permission denied")));
    let swap_denied = FakeEvidence::new().command(&LSBLK, 0, LUKS).file(MOUNTS, LUKS_MOUNTS).no_file(
        SWAPS,
        Answer::Denied,
        "permission denied",
    );
    assert!(matches!(run(&swap_denied).1, Population::Cut(why) if why.contains("active swap is not known")));
}

#[test]
fn cut_or_senseless_answers_are_never_an_empty_list() {
    for lsblk in ["", "{\"blockdevices\": [", "[]", "{}", "\u{1}"] {
        let (out, _) = run(&luks().command(&LSBLK, 0, lsblk));
        assert!(out.of("volume").iter().all(|row| row["encrypted"].is_null()), "{lsblk:?}");
    }
    let half =
        FakeEvidence::new().command(&LSBLK, 0, LUKS).half_file(MOUNTS, "29 1 254:1 / / rw").file(SWAPS, NO_SWAPS);
    assert!(matches!(run(&half).1, Population::Unread(_)));
    let odd = FakeEvidence::new().command(&LSBLK, 0, LUKS).file(MOUNTS, "").file(SWAPS, "");
    assert!(matches!(run(&odd).1, Population::Unread(_)));
}

#[test]
fn only_three_empty_lists_prove_that_there_is_no_disk() {
    let proc_only = "22 29 0:21 / /proc rw - proc proc rw\n";
    let diskless = FakeEvidence::new().file(MOUNTS, proc_only).file(SWAPS, NO_SWAPS);
    let (_, population) = run(&diskless.clone().command(&LSBLK, 0, "{\"blockdevices\": []}"));
    assert!(matches!(population, Population::Absent(_)));
    assert!(matches!(run(&diskless.clone().command(&LSBLK, 0, LUKS)).1, Population::Whole));
    assert!(matches!(run(&diskless).1, Population::Unread(_)));
}

#[test]
fn a_device_that_lsblk_does_not_show_and_a_loop_are_unknown() {
    let mounts = "29 1 254:9 / / rw - ext4 /dev/mapper/gone rw\n30 29 7:0 / /img rw - ext4 /dev/loop0 rw\n";
    let lsblk =
        r#"{"blockdevices": [{"name":"loop0","kname":"loop0","path":"/dev/loop0","maj:min":"7:0","type":"loop"}]}"#;
    let (out, _) = run(&FakeEvidence::new().command(&LSBLK, 0, lsblk).file(MOUNTS, mounts).file(SWAPS, NO_SWAPS));
    assert!(out.get("volume", "/")["why"].as_str().unwrap().contains("does not list /dev/mapper/gone"));
    assert!(out.get("volume", "/img")["why"].as_str().unwrap().contains("loop device"));
    assert!(out.of("volume").iter().all(|row| row["encrypted"].is_null()));
}

#[test]
fn a_swap_file_is_as_encrypted_as_its_file_system() {
    let swaps = |path: &str| format!("{NO_SWAPS}{path} file 1024 0 -2\n");
    for (path, encrypted) in [("/swapfile", true), ("/srv/swap", false), ("/srvswap", true)] {
        let evidence = FakeEvidence::new().file(MOUNTS, LUKS_MOUNTS).file(SWAPS, swaps(path)).command(&LSBLK, 0, LUKS);
        let (out, _) = run(&evidence);
        assert_eq!(out.get("volume", &format!("swap {path}"))["encrypted"], json!(encrypted), "{path}");
    }
}

#[test]
fn half_of_a_mirror_open_is_open() {
    let lsblk = r#"{"blockdevices": [
        {"name":"sda","kname":"sda","path":"/dev/sda","maj:min":"8:0","type":"disk","fstype":"crypto_LUKS","children":[
            {"name":"c","kname":"dm-0","path":"/dev/mapper/c","maj:min":"254:0","type":"crypt","children":[
                {"name":"md0","kname":"md0","path":"/dev/md0","maj:min":"9:0","type":"raid1"}]}]},
        {"name":"sdb","kname":"sdb","path":"/dev/sdb","maj:min":"8:16","type":"disk","children":[
            {"name":"md0","kname":"md0","path":"/dev/md0","maj:min":"9:0","type":"raid1"}]}]}"#;
    let mounts = "29 1 9:0 / /data rw - ext4 /dev/md0 rw\n";
    let (out, _) = run(&FakeEvidence::new().command(&LSBLK, 0, lsblk).file(MOUNTS, mounts).file(SWAPS, NO_SWAPS));
    assert_eq!(out.get("volume", "/data")["encrypted"], json!(false));
    assert_eq!(out.get("volume", "/data")["disks"], json!(["/dev/sda", "/dev/sdb"]));
}

#[test]
fn crypttab_keeps_paths_and_no_secrets() {
    let text = "a UUID=1 /boot/key luks\nb UUID=2 hunter2 luks,keyscript=/bin/k\nc /dev/sdc none tpm2-device=auto\n\
                d /dev/sdd - pkcs11-uri=pkcs11:token=x;pin-value=4711\n# e /dev/sde oldsecret luks\n";
    let (mut kept, mut redactor) = (Vec::new(), crypttab_redaction().begin());
    redactor.push(text.as_bytes(), &mut kept).unwrap();
    let removed = redactor.finish(&mut kept).unwrap();
    let kept = String::from_utf8(kept).unwrap();
    for secret in ["hunter2", "4711", "oldsecret"] {
        assert!(!kept.contains(secret), "{kept}");
    }
    assert!(kept.contains("/boot/key") && kept.contains("keyscript=/bin/k"));
    assert_eq!(removed.iter().map(|r| r.count).collect::<Vec<_>>(), [2, 1]);
    let how = crypttab(&kept);
    assert_eq!((how["a"].as_str(), how["b"].as_str(), how["c"].as_str()), ("a key file", "a key script", "the TPM"));
}
