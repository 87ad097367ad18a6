//! The flatbuffer under construction.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use flatbuffers::{FlatBufferBuilder, UOffsetT, WIPOffset};

/// What stands outside of tables and may be pointed to from several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// Little-endian elements of that many bytes each. The size counts: it decides about the length
    /// in front and the alignment.
    Vector(usize, Vec<u8>),
    /// Text, which ends in a zero byte.
    String(String),
    /// A table by its `Debug` form, which names the type and every field.
    Table(String),
}

/// The builder that all tables are written with. It writes equal vectors, strings and tables of
/// attributes once: per-channel zero points alone, 8 bytes a channel and all 0, would otherwise
/// take several percent of an int8 file.
pub(crate) struct Builder {
    fbb: FlatBufferBuilder<'static>,
    /// Only looked up, never walked through: its order is nowhere to be seen.
    written: HashMap<Content, UOffsetT>,
}

impl Builder {
    /// An empty file, with memory for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Builder { fbb: FlatBufferBuilder::with_capacity(capacity), written: HashMap::new() }
    }

    /// Where `content` stands; `write` puts it there (and returns the place) if it stands nowhere.
    pub(crate) fn shared<T>(&mut self, content: Content, write: impl FnOnce(&mut Self) -> UOffsetT) -> WIPOffset<T> {
        if let Some(&at) = self.written.get(&content) {
            return WIPOffset::new(at);
        }
        let at = write(self);
        self.written.insert(content, at);
        WIPOffset::new(at)
    }
}

impl Deref for Builder {
    type Target = FlatBufferBuilder<'static>;

    fn deref(&self) -> &Self::Target {
        &self.fbb
    }
}

impl DerefMut for Builder {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.fbb
    }
}
