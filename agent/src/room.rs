//! How much room there is for what waits: the spool against its limit, and the file system that it lies on. Near the limit it is said;
//! at the limit no run starts, and what is left is for small receipts: that slots were missed, and why.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// So much is left for receipts at the limit: this, or a twentieth of a small file system.
const RESERVE: u64 = 64 << 20;
/// Free space is near its end below this, or below a tenth of a small file system.
const LITTLE: u64 = 1 << 30;

/// How near the limit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// There is room.
    #[default]
    Ok,
    /// More than four fifths of the spool's limit, or little free space.
    Near,
    /// No run starts.
    Full,
}

/// The room at an instant. Lengths in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// How near the limit is.
    pub level: Level,
    /// In the spool.
    pub bytes: u64,
    /// `max_spool_bytes`.
    pub limit: Option<u64>,
    /// Free for the agent's user where the spool lies; `None` where the system does not tell.
    pub free: Option<u64>,
    /// Which limit is near or reached, and what to do.
    pub why: Option<String>,
}

/// Looks at the file system of `state_dir`, whose spool holds so many bytes.
pub fn look(state_dir: &Path, bytes: u64, limit: Option<u64>) -> Room {
    // statvfs(3): counts are of fragments.
    let space = rustix::fs::statvfs(state_dir).ok().filter(|found| found.f_blocks > 0);
    let of = |fragments: u64, size: u64| fragments.saturating_mul(size);
    let space = space.map(|found| (of(found.f_bavail, found.f_frsize), of(found.f_blocks, found.f_frsize)));
    judge(bytes, limit, space)
}

/// `space` is what is free, and the whole.
fn judge(bytes: u64, limit: Option<u64>, space: Option<(u64, u64)>) -> Room {
    let free = space.map(|(free, _)| free);
    let below = |most: u64, part: u64| space.is_some_and(|(free, whole)| free < most.min(whole / part));
    let over = |part: u64| limit.is_some_and(|limit| bytes > limit / 5 * part);
    let spool = |than: &str| {
        let limit = limit.unwrap_or_default();
        format!(
            "the spool has {bytes} bytes, {than} max_spool_bytes ({limit}): the archive has to take it, or raise the limit"
        )
    };
    let disk = || format!("the file system of state_dir has only {} bytes free: make room", free.unwrap_or_default());
    let (level, why) = if limit.is_some_and(|limit| bytes > limit) {
        (Level::Full, Some(spool("more than")))
    } else if below(RESERVE, 20) {
        (Level::Full, Some(disk()))
    } else if over(4) {
        (Level::Near, Some(spool("more than four fifths of")))
    } else if below(LITTLE, 10) {
        (Level::Near, Some(disk()))
    } else {
        (Level::Ok, None)
    };
    Room { level, bytes, limit, free, why }
}

/// Says a change of level, once.
#[derive(Debug, Default)]
pub struct Said(Level);

impl Said {
    /// Whether the level is another than the one before; then it has been said.
    pub fn say(&mut self, room: &Room) -> bool {
        if self.0 == room.level {
            return false;
        }
        self.0 = room.level;
        let why = room.why.as_deref().unwrap_or_default();
        match room.level {
            Level::Ok => tracing::warn!(bytes = room.bytes, "there is room for what waits again"),
            Level::Near => tracing::error!("NEAR: soon there is no room for what waits: {why}"),
            Level::Full => tracing::error!(
                "FULL: no run starts, and slots that pass are recorded as missed, until there is room: {why}"
            ),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn level(bytes: u64, limit: Option<u64>, space: Option<(u64, u64)>) -> Level {
        judge(bytes, limit, space).level
    }

    #[test]
    fn four_fifths_of_the_limit_are_near_and_more_than_all_of_it_is_full() {
        let at = |bytes| level(bytes, Some(10 * MIB), None);
        assert_eq!(
            [at(8 * MIB), at(8 * MIB + 1), at(10 * MIB), at(10 * MIB + 1)],
            [Level::Ok, Level::Near, Level::Near, Level::Full]
        );
        assert_eq!(level(u64::MAX, None, None), Level::Ok);
    }

    #[test]
    fn little_free_space_is_near_and_the_reserve_is_full_in_proportion_to_a_small_file_system() {
        let large = |free| level(0, None, Some((free, 1 << 40)));
        assert_eq!(
            [large(LITTLE), large(LITTLE - 1), large(RESERVE), large(RESERVE - 1)],
            [Level::Ok, Level::Near, Level::Near, Level::Full]
        );
        let small = |free| level(0, None, Some((free, 100 * MIB)));
        assert_eq!(
            [small(10 * MIB), small(9 * MIB), small(5 * MIB), small(4 * MIB)],
            [Level::Ok, Level::Near, Level::Near, Level::Full]
        );
    }

    #[test]
    fn the_reason_names_the_limit_that_is_reached() {
        let why = |bytes, space| judge(bytes, Some(10 * MIB), space).why.unwrap_or_default();
        assert!(why(11 * MIB, Some((0, MIB))).contains("more than max_spool_bytes (10485760)"));
        assert!(why(9 * MIB, Some((0, MIB))).contains("only 0 bytes free"), "the nearer end is named");
        assert!(why(9 * MIB, None).contains("four fifths"));
    }

    #[test]
    fn a_level_is_said_once_until_it_changes() {
        let mut said = Said::default();
        let room = |level| Room { level, ..Room::default() };
        let levels = [Level::Ok, Level::Near, Level::Near, Level::Full, Level::Full, Level::Ok];
        assert_eq!(levels.map(|level| said.say(&room(level))), [false, true, false, true, false, true]);
    }

    #[test]
    fn a_directory_that_is_there_has_free_space() {
        assert!(look(Path::new("/"), 0, None).free.is_some());
        assert_eq!(look(Path::new("/nowhere/at/all"), 0, None), Room::default());
    }
}
