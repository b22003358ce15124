//! Named removals, applied to an answer before its first byte is kept. It never keeps, counts or hashes what it removes.

use std::{fmt, io, io::Write, sync::Arc};

use crate::contract::Redaction;

/// A line longer than this is not given to the rules but removed whole, so that no rule can be passed by length.
const LONGEST_LINE_BYTES: usize = 1 << 20;

/// What stands in a kept body for a line that was too long for the rules.
const LINE_REMOVED: &[u8] = b"<line removed: too long to redact>";

type Edit = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

#[derive(Clone)]
struct Rule {
    name: String,
    place: String,
    edit: Edit,
}

/// Rules over the lines of an answer, in order.
#[derive(Clone, Default)]
pub struct Redact {
    rules: Vec<Rule>,
}

impl Redact {
    /// Nothing is removed: the answer is kept byte by byte.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Adds a rule. `edit` gets each line without its newline (the last one may be cut short) and returns what to keep instead, or
    /// `None` to leave the line as it is.
    pub fn line(
        mut self,
        name: impl Into<String>,
        place: impl Into<String>,
        edit: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.rules.push(Rule { name: name.into(), place: place.into(), edit: Arc::new(edit) });
        self
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Begins the redaction of one answer.
    pub fn begin(&self) -> Redactor {
        Redactor {
            counts: vec![0; self.rules.len()],
            too_long: 0,
            rules: self.rules.clone(),
            line: Vec::new(),
            skipping: false,
        }
    }
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.name)).finish()
    }
}

/// The redaction of one answer, in pieces as they arrive.
pub struct Redactor {
    rules: Vec<Rule>,
    counts: Vec<u64>,
    too_long: u64,
    line: Vec<u8>,
    skipping: bool,
}

impl Redactor {
    /// Takes a piece of the answer; whole lines go on to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push(&mut self, mut piece: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if self.rules.is_empty() {
            return out.write_all(piece);
        }
        while let Some(at) = piece.iter().position(|byte| *byte == b'\n') {
            self.gather(&piece[..at]);
            self.emit(out)?;
            out.write_all(b"\n")?;
            piece = &piece[at + 1..];
        }
        self.gather(piece);
        Ok(())
    }

    /// Ends the answer: the last line goes on to `out`. Returns what was removed, rule by rule.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<Vec<Redaction>> {
        if !self.line.is_empty() || self.skipping {
            self.emit(out)?;
        }
        let mut removed: Vec<Redaction> = self
            .rules
            .iter()
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(rule, count)| Redaction { rule: rule.name.clone(), place: rule.place.clone(), count: *count })
            .collect();
        if self.too_long > 0 {
            removed.push(Redaction {
                rule: "line-too-long".into(),
                place: format!("lines over {LONGEST_LINE_BYTES} bytes"),
                count: self.too_long,
            });
        }
        Ok(removed)
    }

    fn gather(&mut self, piece: &[u8]) {
        if self.skipping || self.line.len() + piece.len() > LONGEST_LINE_BYTES {
            self.skipping = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn emit(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.skipping) {
            self.too_long += 1;
            return out.write_all(LINE_REMOVED);
        }
        let mut line = std::mem::take(&mut self.line);
        for (rule, count) in self.rules.iter().zip(&mut self.counts) {
            if let Some(edited) = (rule.edit)(&line)
                && edited != line
            {
                line = edited;
                *count += 1;
            }
        }
        out.write_all(&line)?;
        line.clear();
        self.line = line;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hide_secret() -> Redact {
        Redact::nothing().line("secret", "anywhere", |line| line.starts_with(b"secret").then(|| b"removed".to_vec()))
    }

    fn through(redact: &Redact, pieces: &[&[u8]]) -> (Vec<u8>, Vec<Redaction>) {
        let (mut out, mut redactor) = (Vec::new(), redact.begin());
        for piece in pieces {
            redactor.push(piece, &mut out).unwrap();
        }
        let removed = redactor.finish(&mut out).unwrap();
        (out, removed)
    }

    #[test]
    fn a_secret_split_over_pieces_is_removed_and_counted() {
        let (out, removed) = through(&hide_secret(), &[b"a\nsec", b"ret 1\nb\nse", b"cret 2"]);
        assert_eq!(out, b"a\nremoved\nb\nremoved");
        assert_eq!(removed, [Redaction { rule: "secret".into(), place: "anywhere".into(), count: 2 }]);
    }

    #[test]
    fn a_line_too_long_for_the_rules_is_removed_whole() {
        let long = vec![b'x'; LONGEST_LINE_BYTES];
        let (out, removed) = through(&hide_secret(), &[b"a\n", &long, b"tail\nb\n"]);
        assert_eq!(out, [b"a\n".as_slice(), LINE_REMOVED, b"\nb\n"].concat());
        assert_eq!(removed[0].rule, "line-too-long");
    }

    #[test]
    fn without_rules_every_byte_stays() {
        let (out, removed) = through(&Redact::nothing(), &[b"\r\n\0", b"\xff\n\n"]);
        assert_eq!((out.as_slice(), removed.len()), (b"\r\n\0\xff\n\n".as_slice(), 0));
    }
}
