//! Which names a bundle may hold: those that mean the same file on every system.

use super::{BundleError, MAX_FILES};

/// The longest name, in bytes.
pub(super) const MAX_NAME: usize = 200;

/// Refuses names that are absolute, lead upwards, or are spelled differently somewhere.
fn check(name: &str) -> Result<(), BundleError> {
    match fault(name) {
        None => Ok(()),
        Some(why) => Err(BundleError::Name { name: name.chars().take(MAX_NAME).collect(), why }),
    }
}

fn fault(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        return Some("it is longer than 200 bytes");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+@=,/".contains(&b)) {
        return Some("it has characters other than letters, digits and - _ . + @ = , /");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Some("it has an empty part");
        }
        if part.starts_with('.') || part.ends_with('.') {
            return Some("a part of it starts or ends with a dot");
        }
        if is_device(part) {
            return Some("Windows takes a part of it for a device");
        }
    }
    None
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered =
        |s: &str| s.len() == 4 && (s.starts_with("com") || s.starts_with("lpt")) && s.as_bytes()[3].is_ascii_digit();
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || numbered(&stem)
}

/// Many names in little memory: one text, and a place in it for each.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    places: Vec<(u32, u8)>,
}

impl Names {
    /// Adds a name.
    ///
    /// # Errors
    /// One that a bundle cannot hold; more of them than [`MAX_FILES`].
    pub fn push(&mut self, name: &str) -> Result<(), BundleError> {
        check(name)?;
        if self.places.len() == MAX_FILES {
            let what = "the bundle".to_owned();
            return Err(BundleError::TooLarge { what, limit: MAX_FILES as u64, unit: "files" });
        }
        // Both fit: so many names of at most MAX_NAME bytes are less than 4 GiB.
        self.places.push((self.text.len() as u32, name.len() as u8));
        self.text.push_str(name);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The name at that place of the list.
    pub fn get(&self, at: usize) -> Option<&str> {
        self.places.get(at).map(|place| self.at(*place))
    }

    fn at(&self, (start, length): (u32, u8)) -> &str {
        &self.text[start as usize..][..length.into()]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| self.at(*place))
    }

    /// Sorts them by their bytes, from the place `from` on.
    pub fn sort(&mut self, from: usize) {
        let Self { text, places } = self;
        let name = |(start, length): (u32, u8)| &text[start as usize..][..length.into()];
        places[from..].sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
    }

    /// Whether they are sorted from the place `from` on, with no name twice.
    pub fn is_sorted(&self, from: usize) -> bool {
        self.places[from..].is_sorted_by(|a, b| self.at(*a) < self.at(*b))
    }

    /// The place of a name in a list whose first is `SHA256SUMS` and whose others are sorted.
    pub fn find(&self, name: &str) -> Option<usize> {
        let (first, others) = self.places.split_first()?;
        match others.binary_search_by(|place| self.at(*place).cmp(name)) {
            Ok(at) => Some(at + 1),
            Err(_) => (self.at(*first) == name).then_some(0),
        }
    }

    /// Refuses a name that comes twice, in whatever case, or is a directory of another.
    pub fn check_together(&self) -> Result<(), BundleError> {
        // In this order all that is below a name follows it at once: no byte of a name is smaller than what stands for a slash.
        let folded =
            |place: (u32, u8)| self.at(place).bytes().map(|b| if b == b'/' { 0 } else { b.to_ascii_lowercase() });
        let mut order = self.places.clone();
        order.sort_unstable_by(|a, b| folded(*a).cmp(folded(*b)));
        for pair in order.windows(2) {
            let mut second = folded(pair[1]);
            if !folded(pair[0]).all(|b| second.next() == Some(b)) {
                continue;
            }
            let why = match second.next() {
                None => "it comes twice, at least on systems that do not tell upper from lower case",
                Some(0) => "a part of it is a file already",
                Some(_) => continue,
            };
            return Err(BundleError::Name { name: self.at(pair[1]).to_owned(), why });
        }
        Ok(())
    }
}
