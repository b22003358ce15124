//! The newest sealing time up to each entry: recent ones in memory, since entries know recent checkpoints, older ones in a temporary file.

use super::{findings::CannotVerify, scratch::Scratch};

/// Times that are held at least, once there are so many.
const RECENT: usize = 8_192;

/// Times in milliseconds of Unix time, by entry from the first one that came.
#[derive(Default)]
pub(crate) struct Newest {
    scratch: Scratch,
    written: u64,
    held: Vec<i64>,
}

impl Newest {
    /// Takes the next entry's time; `None`: it has none, and what was newest stays so.
    pub fn push(&mut self, millis: Option<i64>) -> Result<(), CannotVerify> {
        let before = self.held.last().copied().unwrap_or(i64::MIN);
        self.held.push(before.max(millis.unwrap_or(i64::MIN)));
        if self.held.len() == 2 * RECENT {
            let bytes: Vec<u8> = self.held.drain(..RECENT).flat_map(i64::to_be_bytes).collect();
            self.scratch.add(&bytes)?;
            self.written += RECENT as u64;
        }
        Ok(())
    }

    /// The newest time up to and with an entry; `None`: it has not come.
    pub fn get(&mut self, at: u64) -> Result<Option<i64>, CannotVerify> {
        if let Some(held) = at.checked_sub(self.written) {
            return Ok(self.held.get(held as usize).copied());
        }
        let mut bytes = [0; 8];
        self.scratch.read(at * 8, &mut bytes)?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    pub fn len(&self) -> u64 {
        self.written + self.held.len() as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_time_up_to_an_entry_stays_known_however_many_follow() {
        let (mut newest, mut wanted) = (Newest::default(), Vec::new());
        for n in 0..3 * RECENT as i64 + 5 {
            // The clock is set back now and then, and some entries tell no time.
            let millis = if n % 100 == 50 { Some(7) } else { (n % 3 != 1).then_some(n) };
            newest.push(millis).unwrap();
            wanted.push(wanted.last().copied().max(millis).unwrap());
            assert_eq!(newest.len(), wanted.len() as u64);
        }
        for (at, wanted) in wanted.iter().enumerate().step_by(7) {
            assert_eq!(newest.get(at as u64).unwrap(), Some(*wanted), "{at}");
        }
        assert_eq!(newest.get(newest.len()).unwrap(), None);
    }
}
