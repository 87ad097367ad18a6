//! One declaration of a flatbuffer table for both directions.
//!
//! [`table!`] turns a list of `slot name: type = default` into a plain struct that verifies, reads
//! and writes itself. Bytes are verified by the `flatbuffers` crate first; reading then goes
//! through bounds-checked slices all the same, so this crate needs no `unsafe` code.

use std::sync::Arc;

use fewbits_graph::Tensor;
use flatbuffers::{
    ForwardsUOffset, InvalidFlatbuffer, Push, PushAlignment, TableFinishedWIPOffset, TableVerifier, UnionWIPOffset,
    VOffsetT, Vector, Verifiable, Verifier, VerifierOptions, WIPOffset,
};

pub(crate) use super::builder::{Builder, Content};
/// Result of verification.
pub(crate) type Verified<T> = Result<T, InvalidFlatbuffer>;

/// Alignment of constants' data from the start of the file; microcontroller runtimes read them in
/// place.
pub(crate) const BUFFER_ALIGNMENT: usize = 16;

/// Deepest nesting of tables that a model of this schema has, with room to spare.
const MAX_DEPTH: usize = 16;
/// More tables than any model within the 2 GiB of the format could use.
const MAX_TABLES: usize = 1_000_000;

/// Limits of verification. The apparent size (tables shared in the file count again each time they
/// are met) bounds the memory that reading takes.
pub(crate) fn verifier_options(file_len: usize) -> VerifierOptions {
    VerifierOptions {
        max_depth: MAX_DEPTH,
        max_tables: MAX_TABLES,
        max_apparent_size: file_len.saturating_mul(8).saturating_add(1 << 20),
        ignore_missing_null_terminator: true,
    }
}

/// Offset in the vtable of a field's slot.
pub(crate) const fn slot_offset(slot: u16) -> VOffsetT {
    4 + 2 * slot
}

/// `N` bytes at `at`.
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The position that the unsigned offset at `at` leads to.
pub(crate) fn follow(bytes: &[u8], at: usize) -> Option<usize> {
    at.checked_add(usize::try_from(u32::from_le_bytes(bytes_at(bytes, at)?)).ok()?)
}

/// The position of a table's field, `None` if it is absent.
fn field_position(bytes: &[u8], table: usize, slot: u16) -> Option<usize> {
    let back = i64::from(i32::from_le_bytes(bytes_at(bytes, table)?));
    let vtable = usize::try_from(i64::try_from(table).ok()?.checked_sub(back)?).ok()?;
    let vtable_len = usize::from(u16::from_le_bytes(bytes_at(bytes, vtable)?));
    let offset = usize::from(slot_offset(slot));
    if offset + 2 > vtable_len {
        return None;
    }
    let field = usize::from(u16::from_le_bytes(bytes_at(bytes, vtable.checked_add(offset)?)?));
    if field == 0 { None } else { table.checked_add(field) }
}

/// Position of the first element and number of elements of the vector that `at` points to.
fn vector(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = follow(bytes, at)?;
    let len = usize::try_from(u32::from_le_bytes(bytes_at(bytes, start)?)).ok()?;
    Some((start.checked_add(4)?, len))
}

/// A table of the schema.
pub(crate) trait Table: Sized + Verifiable {
    /// Reads the table at `at`; `None` if bytes are missing, which verified input does not do.
    fn read(bytes: &[u8], at: usize) -> Option<Self>;
    /// Appends the table.
    fn write(&self, fbb: &mut Builder) -> WIPOffset<TableFinishedWIPOffset>;
}

/// The type of a field.
pub(crate) trait Field: Sized {
    /// What goes into the table: the scalar itself, or an offset if there is something to write.
    type Ready: Copy;
    /// Checks the field.
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>>;
    /// Reads the field, whose inline part is at `at`.
    fn read(bytes: &[u8], at: usize) -> Option<Self>;
    /// Writes what stands outside of the table.
    fn prepare(&self, fbb: &mut Builder) -> Self::Ready;
    /// Writes what stands in the table.
    fn push(ready: Self::Ready, default: Option<&Self>, fbb: &mut Builder, slot: u16);
}

/// The field in `slot` of the table at `table`, or its default.
pub(crate) fn read_field<T: Field>(bytes: &[u8], table: usize, slot: u16, default: T) -> Option<T> {
    match field_position(bytes, table, slot) {
        Some(at) => T::read(bytes, at),
        None => Some(default),
    }
}

macro_rules! scalar_field {
    ($($t:ty),*) => { $(
        impl Field for $t {
            type Ready = $t;
            fn verify<'v, 'o, 'b>(
                t: TableVerifier<'v, 'o, 'b>,
                name: &'static str,
                slot: u16,
            ) -> Verified<TableVerifier<'v, 'o, 'b>> {
                t.visit_field::<$t>(name, slot_offset(slot), false)
            }
            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                Some(<$t>::from_le_bytes(bytes_at(bytes, at)?))
            }
            fn prepare(&self, _: &mut Builder) -> $t {
                *self
            }
            fn push(ready: $t, default: Option<&Self>, fbb: &mut Builder, slot: u16) {
                if default != Some(&ready) {
                    fbb.push_slot_always::<$t>(slot_offset(slot), ready);
                }
            }
        }

        impl Field for Vec<$t> {
            type Ready = WIPOffset<Vector<'static, $t>>;
            fn verify<'v, 'o, 'b>(
                t: TableVerifier<'v, 'o, 'b>,
                name: &'static str,
                slot: u16,
            ) -> Verified<TableVerifier<'v, 'o, 'b>> {
                t.visit_field::<ForwardsUOffset<Vector<'_, $t>>>(name, slot_offset(slot), false)
            }
            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                const SIZE: usize = size_of::<$t>();
                let (start, len) = vector(bytes, at)?;
                let data = bytes.get(start..start.checked_add(len.checked_mul(SIZE)?)?)?;
                let (elements, _) = data.as_chunks::<SIZE>();
                Some(elements.iter().map(|e| <$t>::from_le_bytes(*e)).collect())
            }
            fn prepare(&self, fbb: &mut Builder) -> Self::Ready {
                let bytes = self.iter().flat_map(|e| e.to_le_bytes()).collect();
                fbb.shared(Content::Vector(size_of::<$t>(), bytes), |fbb| fbb.create_vector(self.as_slice()).value())
            }
            fn push(ready: Self::Ready, _: Option<&Self>, fbb: &mut Builder, slot: u16) {
                fbb.push_slot_always(slot_offset(slot), ready);
            }
        }
    )* };
}
scalar_field!(i8, u8, i32, u32, i64, u64, f32);

impl Field for bool {
    type Ready = bool;
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        t.visit_field::<bool>(name, slot_offset(slot), false)
    }
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        Some(*bytes.get(at)? != 0)
    }
    fn prepare(&self, _: &mut Builder) -> bool {
        *self
    }
    fn push(ready: bool, default: Option<&Self>, fbb: &mut Builder, slot: u16) {
        if default != Some(&ready) {
            fbb.push_slot_always::<bool>(slot_offset(slot), ready);
        }
    }
}

impl Field for String {
    type Ready = WIPOffset<&'static str>;
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        // As bytes: files with names in other encodings than UTF-8 exist.
        t.visit_field::<ForwardsUOffset<Vector<'_, u8>>>(name, slot_offset(slot), false)
    }
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        Some(String::from_utf8_lossy(&Vec::<u8>::read(bytes, at)?).into_owned())
    }
    fn prepare(&self, fbb: &mut Builder) -> Self::Ready {
        fbb.shared(Content::String(self.clone()), |fbb| fbb.create_string(self).value())
    }
    fn push(ready: Self::Ready, _: Option<&Self>, fbb: &mut Builder, slot: u16) {
        fbb.push_slot_always(slot_offset(slot), ready);
    }
}

impl<T: Table> Field for Vec<T> {
    type Ready = WIPOffset<Vector<'static, ForwardsUOffset<TableFinishedWIPOffset>>>;
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        t.visit_field::<ForwardsUOffset<Vector<'_, ForwardsUOffset<T>>>>(name, slot_offset(slot), false)
    }
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (start, len) = vector(bytes, at)?;
        (0..len).map(|i| T::read(bytes, follow(bytes, start.checked_add(i.checked_mul(4)?)?)?)).collect()
    }
    fn prepare(&self, fbb: &mut Builder) -> Self::Ready {
        let tables: Vec<_> = self.iter().map(|t| t.write(fbb)).collect();
        WIPOffset::new(fbb.create_vector(&tables).value())
    }
    fn push(ready: Self::Ready, _: Option<&Self>, fbb: &mut Builder, slot: u16) {
        fbb.push_slot_always(slot_offset(slot), ready);
    }
}

/// A table, or a vector, that may be absent.
impl<T: Field> Field for Option<T> {
    type Ready = Option<T::Ready>;
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        T::verify(t, name, slot)
    }
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        T::read(bytes, at).map(Some)
    }
    fn prepare(&self, fbb: &mut Builder) -> Self::Ready {
        self.as_ref().map(|t| t.prepare(fbb))
    }
    fn push(ready: Self::Ready, _: Option<&Self>, fbb: &mut Builder, slot: u16) {
        if let Some(ready) = ready {
            T::push(ready, None, fbb, slot);
        }
    }
}

/// Whether a table stands in the slot; its content is of no interest and never written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Present(pub(crate) bool);

impl Field for Present {
    type Ready = ();
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        t.visit_field::<u32>(name, slot_offset(slot), false)
    }
    fn read(_: &[u8], _: usize) -> Option<Self> {
        Some(Present(true))
    }
    fn prepare(&self, _: &mut Builder) {}
    fn push(_: (), _: Option<&Self>, _: &mut Builder, _: u16) {}
}

/// The table of a union: in a file, where it stands; to be written, the table.
#[derive(Clone, Debug, Default)]
pub(crate) enum UnionTable {
    #[default]
    None,
    InFile(usize),
    Write(Arc<dyn WriteTable>),
}

/// A table to be written, of any type.
pub(crate) trait WriteTable: std::fmt::Debug {
    /// Writes the table, unless an equal one stands in the file already.
    fn write_table(&self, fbb: &mut Builder) -> WIPOffset<TableFinishedWIPOffset>;
}

impl<T: Table + std::fmt::Debug> WriteTable for T {
    fn write_table(&self, fbb: &mut Builder) -> WIPOffset<TableFinishedWIPOffset> {
        fbb.shared(Content::Table(format!("{self:?}")), |fbb| self.write(fbb).value())
    }
}

impl Field for UnionTable {
    type Ready = Option<WIPOffset<UnionWIPOffset>>;
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        // The table itself is verified when it is read, since only then its type is known.
        t.visit_field::<u32>(name, slot_offset(slot), false)
    }
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        follow(bytes, at).map(UnionTable::InFile)
    }
    fn prepare(&self, fbb: &mut Builder) -> Self::Ready {
        match self {
            UnionTable::Write(table) => Some(table.write_table(fbb).as_union_value()),
            UnionTable::None | UnionTable::InFile(_) => None,
        }
    }
    fn push(ready: Self::Ready, _: Option<&Self>, fbb: &mut Builder, slot: u16) {
        if let Some(ready) = ready {
            fbb.push_slot_always(slot_offset(slot), ready);
        }
    }
}

/// Bytes of a constant: in a file, where they stand; to be written, the constant.
#[derive(Clone, Debug, Default)]
pub(crate) enum Blob {
    #[default]
    None,
    InFile {
        start: usize,
        len: usize,
    },
    Write(Tensor),
}

/// Aligns what is pushed next, without taking space.
struct Align;

impl Push for Align {
    type Output = ();
    // The trait says `unsafe`; nothing is written here.
    unsafe fn push(&self, _: &mut [u8], _: usize) {}
    fn alignment() -> PushAlignment {
        PushAlignment::new(BUFFER_ALIGNMENT)
    }
}

impl Field for Blob {
    type Ready = Option<WIPOffset<Vector<'static, u8>>>;
    fn verify<'v, 'o, 'b>(
        t: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: u16,
    ) -> Verified<TableVerifier<'v, 'o, 'b>> {
        t.visit_field::<ForwardsUOffset<Vector<'_, u8>>>(name, slot_offset(slot), false)
    }
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let (start, len) = vector(bytes, at)?;
        bytes.get(start..start.checked_add(len)?).map(|_| Blob::InFile { start, len })
    }
    fn prepare(&self, fbb: &mut Builder) -> Self::Ready {
        let Blob::Write(tensor) = self else {
            return None;
        };
        let data = tensor.bytes();
        // The builder works backwards from an aligned end: filling up to the next boundary now
        // makes the first byte of the data stand on one.
        fbb.push(Align);
        for _ in data.len()..data.len().next_multiple_of(BUFFER_ALIGNMENT) {
            fbb.push(0u8);
        }
        Some(WIPOffset::new(fbb.create_vector(data).value()))
    }
    fn push(ready: Self::Ready, _: Option<&Self>, fbb: &mut Builder, slot: u16) {
        if let Some(ready) = ready {
            fbb.push_slot_always(slot_offset(slot), ready);
        }
    }
}

/// Declares tables: a struct each, its defaults, verifier, reader and writer.
macro_rules! table {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $( $slot:literal $field:ident: $t:ty $(= $default:expr)?, )*
        }
    )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $( pub(crate) $field: $t, )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $( $field: $crate::schema::table::table!(@default $($default)?), )* }
            }
        }

        impl flatbuffers::Verifiable for $name {
            fn run_verifier(v: &mut flatbuffers::Verifier<'_, '_>, pos: usize) -> $crate::schema::table::Verified<()> {
                let t = v.visit_table(pos)?;
                $( let t = <$t as $crate::schema::table::Field>::verify(t, stringify!($field), $slot)?; )*
                t.finish();
                Ok(())
            }
        }

        impl $crate::schema::table::Table for $name {
            #[allow(unused_variables)] // Tables without fields.
            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                let default = Self::default();
                Some($name { $( $field: $crate::schema::table::read_field(bytes, at, $slot, default.$field)?, )* })
            }
            #[allow(unused_variables)]
            fn write(
                &self,
                fbb: &mut $crate::schema::table::Builder,
            ) -> flatbuffers::WIPOffset<flatbuffers::TableFinishedWIPOffset> {
                let default = Self::default();
                $( let $field = $crate::schema::table::Field::prepare(&self.$field, fbb); )*
                let start = fbb.start_table();
                $( <$t as $crate::schema::table::Field>::push($field, Some(&default.$field), fbb, $slot); )*
                fbb.end_table(start)
            }
        }

        impl $crate::schema::table::Field for $name {
            type Ready = flatbuffers::WIPOffset<flatbuffers::TableFinishedWIPOffset>;
            fn verify<'v, 'o, 'b>(
                t: flatbuffers::TableVerifier<'v, 'o, 'b>,
                name: &'static str,
                slot: u16,
            ) -> $crate::schema::table::Verified<flatbuffers::TableVerifier<'v, 'o, 'b>> {
                let offset = $crate::schema::table::slot_offset(slot);
                t.visit_field::<flatbuffers::ForwardsUOffset<$name>>(name, offset, false)
            }
            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                <$name as $crate::schema::table::Table>::read(bytes, $crate::schema::table::follow(bytes, at)?)
            }
            fn prepare(&self, fbb: &mut $crate::schema::table::Builder) -> Self::Ready {
                $crate::schema::table::WriteTable::write_table(self, fbb)
            }
            fn push(
                ready: Self::Ready,
                _: Option<&Self>,
                fbb: &mut $crate::schema::table::Builder,
                slot: u16,
            ) {
                fbb.push_slot_always($crate::schema::table::slot_offset(slot), ready);
            }
        }
    )* };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}
pub(crate) use table;

/// Verifies and reads the table of type `T` at `at`.
pub(crate) fn read_verified<T: Table>(bytes: &[u8], at: usize) -> Verified<Option<T>> {
    let options = verifier_options(bytes.len());
    let mut verifier = Verifier::new(&options, bytes);
    T::run_verifier(&mut verifier, at)?;
    Ok(T::read(bytes, at))
}
