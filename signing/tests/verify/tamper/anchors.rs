//! What is done to the anchors: taken away, added, or made anew for another history.

use chrono::TimeDelta;
use signing::{digest::Digest, layout};

use super::{
    Made,
    attacks::{knew_more, replaced, slower},
    history::*,
};
use crate::{
    sound::*,
    tsa::{Profile, Tsa, p256},
};

pub fn without_anchors(suffix: &str) -> Made {
    let mut memory = whole();
    memory.objects.retain(|name, _| !(name.starts_with("anchor/") && name.ends_with(suffix)));
    let name = whole().names("anchor/2/").into_iter().find(|name| name.ends_with(".tsr")).unwrap();
    Made { memory, object: name }
}

/// An authority that nobody was told of.
pub fn somebody() -> Tsa {
    let other = |profile: Profile| Profile { issuer: "Other", ..profile };
    Tsa::with(
        p256(7),
        Profile::signer(),
        other(Profile::intermediate()),
        Profile { subject: "Other", ..other(Profile::root()) },
    )
}

pub fn token_added(tsa: &Tsa, message: &[u8]) -> Made {
    let token = token(tsa, message, slot(1));
    let name = layout::anchor(18, Digest::of(&token), layout::Anchor::Token);
    replaced(&name, token, &name)
}

/// The second history with true tokens of a later time, which its entries name or not.
pub fn second_history_anchored_later(after: TimeDelta, named: bool) -> Made {
    let story = anchored_story(1, &slower, &mut |writer| {
        let at = writer.now + after;
        writer.anchor(tsa(), at);
        writer.anchor = writer.anchor.filter(|_| named);
    });
    let memory = story.states.last().unwrap().clone();
    let object = memory.names("seal/").into_iter().find(|name| knew_more(&memory, name, 13)).unwrap();
    Made { memory, object }
}
