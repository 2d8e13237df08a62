//! Columns to domain types; what does not convert is a damaged database.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Error;

/// A name or digest.
pub(crate) fn text<T: FromStr<Err: Display>>(row: &AnyRow, name: &'static str) -> Result<T, Error> {
    let value: &str = row.try_get(name)?;
    value.parse().map_err(|e: T::Err| Error::Corrupt { what: name, reason: e.to_string() })
}

/// A count or time: the schema keeps them from being negative.
pub(crate) fn unsigned(row: &AnyRow, name: &'static str) -> Result<u64, Error> {
    Ok(row.try_get::<i64, _>(name)?.max(0) as u64)
}

/// A count or time that may be missing.
pub(crate) fn maybe_unsigned(row: &AnyRow, name: &'static str) -> Result<Option<u64>, Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(|x| x.max(0) as u64))
}

/// An unsigned number as SQLite stores it; no count or time here comes near the limit.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
