//! The names of the log's own objects (C2SP tlog-tiles, without a height): made, and parsed back in their one spelling only.

use std::fmt;

use crate::log;

/// What an object of the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Hashes of this level.
    Level(u8),
    /// The entries themselves.
    Entries,
}

/// `tile/<level or entries>/<index>[.p/<width>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileName {
    pub part: Part,
    pub index: u64,
    /// How many hashes or entries; 256 in a full one.
    pub width: u16,
}

impl TileName {
    pub fn full(part: Part, index: u64) -> Self {
        Self { part, index, width: 256 }
    }

    /// The last tile where `size` hashes or entries are stored, or a full one before it.
    pub fn of_size(part: Part, index: u64, size: u64) -> Self {
        Self { part, index, width: size.saturating_sub(index * 256).min(256) as u16 }
    }

    /// Hashes or entries up to the end of this one.
    pub fn end(&self) -> u64 {
        self.index.saturating_mul(256).saturating_add(self.width.into())
    }

    pub fn parse(name: &str) -> Option<Self> {
        let (part, rest) = name.strip_prefix("tile/")?.split_once('/')?;
        let part = match part {
            "entries" => Part::Entries,
            level => Part::Level(level.parse().ok().filter(|l| *l < 8)?),
        };
        let (path, width) = match rest.split_once(".p/") {
            Some((path, width)) => (path, width.parse().ok().filter(|w| (1..256).contains(w))?),
            None => (rest, 256),
        };
        let mut index = 0_u64;
        for group in path.split('/') {
            let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let parsed = Self { part, index, width };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self.part {
            Part::Level(level) => log::tile_name(level, self.index, self.width.into()),
            Part::Entries => log::entry_bundle_name(self.index, self.width.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        let name = TileName { part: Part::Level(0), index: 1_234_067, width: 256 };
        assert_eq!(name.to_string(), "tile/0/x001/x234/067");
        assert_eq!(TileName { part: Part::Entries, index: 0, width: 5 }.to_string(), "tile/entries/000.p/5");
        assert_eq!(TileName::parse("tile/0/x001/x234/067"), Some(name));
    }

    #[test]
    fn only_the_one_spelling_is_parsed() {
        for wrong in [
            "tile/00/000",
            "tile/0/0",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/000.p/256",
            "tile/0/000.p/0",
            "tile/0/000.p/05",
            "tile/0/+01",
            "tile/8/000",
            "tile/entries/000/",
            "tile/data/000",
        ] {
            assert_eq!(TileName::parse(wrong), None, "{wrong}");
        }
    }
}
