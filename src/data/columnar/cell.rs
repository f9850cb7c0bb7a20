//! One cell of a typed column, as the text that stands for it in a CSV file.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};

use crate::data::cells;

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    Missing,
    /// A whole number of any size.
    Whole(i128),
    Real(f64),
    Text(Cow<'a, str>),
}

impl Datum<'_> {
    /// What a CSV file would hold in its place: empty where it is missing.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Datum::Missing => Cow::Borrowed(""),
            Datum::Whole(n) => Cow::Owned(n.to_string()),
            Datum::Real(x) => Cow::Owned(cells::written(*x)),
            Datum::Text(text) => Cow::Borrowed(text),
        }
    }

    /// As a number without its text, which is slower to write and to read back.
    pub fn number(&self) -> Option<f64> {
        match self {
            Datum::Whole(n) => Some(*n as f64),
            Datum::Real(x) => Some(*x).filter(|x| x.is_finite()),
            Datum::Missing | Datum::Text(_) => None,
        }
    }
}

/// What the cells of a type are, in words, if no text stands for them.
pub fn strange(ty: &DataType) -> Option<String> {
    use DataType as T;
    let what = match ty {
        T::Null | T::Boolean => return None,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => return None,
        T::Float16 | T::Float32 | T::Float64 => return None,
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => return None,
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Date32 | T::Date64 | T::Timestamp(..) => return None,
        T::Dictionary(_, values) => return strange(values),
        T::Time32(_) | T::Time64(_) => "times of day",
        T::Duration(_) | T::Interval(_) => "lengths of time",
        T::Binary | T::FixedSizeBinary(_) | T::LargeBinary | T::BinaryView => "bytes",
        T::List(_) | T::ListView(_) | T::FixedSizeList(..) | T::LargeList(_) | T::LargeListView(_) => "lists",
        T::Struct(_) | T::Map(..) | T::Union(..) => "records",
        T::RunEndEncoded(..) => "runs of equal values",
    };
    Some(what.to_owned())
}

/// Visit the cells of a column. Expects a type that is not strange.
pub fn each<'a>(array: &'a dyn Array, visit: &mut dyn FnMut(Datum<'a>)) {
    use DataType as T;
    match array.data_type() {
        T::Null => (0..array.len()).for_each(|_| visit(Datum::Missing)),
        T::Boolean => {
            let word = |b| Datum::Text(Cow::Borrowed(if b { "true" } else { "false" }));
            array.as_boolean().iter().for_each(|b| visit(b.map_or(Datum::Missing, word)));
        }
        T::Int8 => whole::<Int8Type>(array, visit),
        T::Int16 => whole::<Int16Type>(array, visit),
        T::Int32 => whole::<Int32Type>(array, visit),
        T::Int64 => whole::<Int64Type>(array, visit),
        T::UInt8 => whole::<UInt8Type>(array, visit),
        T::UInt16 => whole::<UInt16Type>(array, visit),
        T::UInt32 => whole::<UInt32Type>(array, visit),
        T::UInt64 => whole::<UInt64Type>(array, visit),
        T::Float16 => primitive::<Float16Type>(array, &|x, _| Datum::Real(x.to_f64()), visit),
        // The number that is stored, not the shortest decimal that rounds to it.
        T::Float32 => primitive::<Float32Type>(array, &|x, _| Datum::Real(x.into()), visit),
        T::Float64 => primitive::<Float64Type>(array, &|x, _| Datum::Real(x), visit),
        T::Decimal32(..) => decimal::<Decimal32Type>(array, visit),
        T::Decimal64(..) => decimal::<Decimal64Type>(array, visit),
        T::Decimal128(..) => decimal::<Decimal128Type>(array, visit),
        T::Decimal256(..) => decimal::<Decimal256Type>(array, visit),
        T::Utf8 => words(array.as_string::<i32>().iter(), visit),
        T::LargeUtf8 => words(array.as_string::<i64>().iter(), visit),
        T::Utf8View => words(array.as_string_view().iter(), visit),
        T::Date32 => time::<Date32Type>(array, false, visit),
        T::Date64 => time::<Date64Type>(array, false, visit),
        T::Timestamp(unit, zone) => {
            let zoned = zone.as_deref().is_some_and(|z| !["UTC", "Etc/UTC", "Z", "+00:00"].contains(&z));
            match unit {
                TimeUnit::Second => time::<TimestampSecondType>(array, zoned, visit),
                TimeUnit::Millisecond => time::<TimestampMillisecondType>(array, zoned, visit),
                TimeUnit::Microsecond => time::<TimestampMicrosecondType>(array, zoned, visit),
                TimeUnit::Nanosecond => time::<TimestampNanosecondType>(array, zoned, visit),
            }
        }
        T::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let mut values: Vec<Datum> = vec![];
            each(dictionary.values(), &mut |datum| values.push(datum));
            let keys = if values.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
            for (row, key) in keys.into_iter().enumerate() {
                let present = !dictionary.keys().is_null(row);
                visit(values.get(key).filter(|_| present).cloned().unwrap_or(Datum::Missing));
            }
        }
        _ => unreachable!("columns of strange types are not read"),
    }
}

fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    datum: &dyn Fn(T::Native, (&'a PrimitiveArray<T>, usize)) -> Datum<'a>,
    visit: &mut dyn FnMut(Datum<'a>),
) {
    let array = array.as_primitive::<T>();
    for row in 0..array.len() {
        visit(if array.is_null(row) { Datum::Missing } else { datum(array.value(row), (array, row)) });
    }
}

fn whole<'a, T: ArrowPrimitiveType<Native: Into<i128>>>(array: &'a dyn Array, visit: &mut dyn FnMut(Datum<'a>)) {
    primitive::<T>(array, &|n, _| Datum::Whole(n.into()), visit);
}

/// Exact, without the zeros that only fill its scale: `2.50` is `2.5`, and `2.00` is the level `2`.
fn decimal<'a, T: DecimalType + ArrowPrimitiveType>(array: &'a dyn Array, visit: &mut dyn FnMut(Datum<'a>)) {
    let text = |array: &PrimitiveArray<T>, row| {
        let text = array.value_as_string(row);
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    primitive::<T>(array, &|_, (array, row)| Datum::Text(Cow::Owned(text(array, row))), visit);
}

fn words<'a>(texts: impl Iterator<Item = Option<&'a str>>, visit: &mut dyn FnMut(Datum<'a>)) {
    texts.for_each(|text| visit(text.map_or(Datum::Missing, |t| Datum::Text(Cow::Borrowed(t)))));
}

/// A midnight is its date. Any other time is written out, so that a `date` refuses it; so is a midnight in Greenwich of a
/// column in another zone, whose dates begin at other instants.
fn time<'a, T: ArrowTemporalType>(array: &'a dyn Array, zoned: bool, visit: &mut dyn FnMut(Datum<'a>))
where
    i64: From<T::Native>,
{
    let text = |array: &PrimitiveArray<T>, row| match array.value_as_datetime(row) {
        Some(t) if t.time() == Default::default() && !zoned => t.date().to_string(),
        Some(t) if zoned => format!("{t} UTC"),
        Some(t) => t.to_string(),
        None => "a time outside the calendar".to_owned(),
    };
    primitive::<T>(array, &|_, (array, row)| Datum::Text(Cow::Owned(text(array, row))), visit);
}
