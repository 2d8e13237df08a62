//! Records chained by hashes, and the counter beside them.
//!
//! Order of a write: record, then counter, each durable before the next. So the counter is
//! at most one behind, and a store with fewer records than it, or with another record at
//! its place, was cut or exchanged.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::store::{Counter, LedgerStore};
use super::{FORMAT, Record};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    previous: String,
    hash: String,
    record: Record,
}

/// A store whose records follow from each other.
#[derive(Debug)]
pub(super) struct Chain<S> {
    store: S,
    last: Counter,
    /// Bytes of all records.
    bytes: u64,
    /// Whether the counter that is kept is behind `last`.
    behind: bool,
    /// Whether a failed append may have left bytes after the last record.
    torn: bool,
}

impl<S: LedgerStore> Chain<S> {
    /// Opens a store and reads its records.
    pub(super) fn open(mut store: S) -> Result<(Self, Vec<Record>), String> {
        let (text, kept) = (store.read()?, store.counter()?);
        let acknowledged = kept.clone().unwrap_or_default();
        let mut chain =
            Self { store, last: Counter::default(), bytes: 0, behind: true, torn: false };
        let mut records = Vec::new();
        for line in text.split_inclusive('\n') {
            match chain.follow(line) {
                Ok(record) => records.push(record),
                // The last line, which no counter ever named: a crash tore it, or the disk kept
                // only parts of it.
                Err(_) if chain.ends_with(line, &text) && acknowledged == chain.last => break,
                Err(reason) => {
                    return Err(format!("record {} is damaged: {reason}", records.len() + 1));
                }
            }
            records.last().map_or(Ok(()), check_format)?;
            check_place(&chain.last, kept.as_ref())?;
        }
        chain.torn = chain.bytes < text.len() as u64;
        check_length(&chain.last, kept.as_ref())?;
        chain.mend()?;
        if !chain.is_empty() {
            chain.settle()?;
        }
        Ok((chain, records))
    }

    /// Whether `line`, the next one, is the last of `text`.
    fn ends_with(&self, line: &str, text: &str) -> bool {
        self.bytes + line.len() as u64 == text.len() as u64
    }

    fn follow(&mut self, text: &str) -> Result<Record, String> {
        let whole = text.strip_suffix('\n').ok_or("it was cut short")?;
        let line: Line = serde_json::from_str(whole).map_err(|e| e.to_string())?;
        if line.previous != self.last.last || line.hash != hash(&line.previous, &line.record)? {
            return Err("its hash does not follow from the records before it".into());
        }
        if matches!(line.record, Record::Opened { .. }) != self.is_empty() {
            return Err("a ledger begins with its format, once".into());
        }
        self.last = Counter { records: self.last.records + 1, last: line.hash };
        self.bytes += text.len() as u64;
        Ok(line.record)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.last.records == 0
    }

    /// Hash of the last record.
    pub(super) fn head(&self) -> &str {
        &self.last.last
    }

    /// Makes one more record durable. It counts from here on, although no permit may be
    /// given before [`Self::settle`].
    pub(super) fn append(&mut self, record: &Record) -> Result<(), String> {
        if self.behind && !self.is_empty() {
            self.settle()?;
        }
        self.mend()?;
        let hash = hash(&self.last.last, record)?;
        let (previous, record) = (self.last.last.clone(), record.clone());
        let line = Line { previous, hash: hash.clone(), record };
        let text = serde_json::to_string(&line).map_err(|e| e.to_string())? + "\n";
        self.torn = true;
        self.store.append(&text)?;
        self.torn = false;
        self.bytes += text.len() as u64;
        self.last = Counter { records: self.last.records + 1, last: hash };
        self.behind = true;
        Ok(())
    }

    /// Brings the counter up to date.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        if self.behind {
            self.store.keep_counter(&self.last)?;
            self.behind = false;
        }
        Ok(())
    }

    /// Drops what a crash or a failed append left after the last record.
    fn mend(&mut self) -> Result<(), String> {
        if self.torn {
            self.store.truncate(self.bytes)?;
            self.torn = false;
        }
        Ok(())
    }
}

fn check_format(record: &Record) -> Result<(), String> {
    match record {
        Record::Opened { format } if *format != FORMAT => Err(format!(
            "its records have format {format} and this version reads {FORMAT}; use the version \
             that wrote them, or a newer one"
        )),
        _ => Ok(()),
    }
}

/// The record that the counter names must be the one in its place.
fn check_place(here: &Counter, kept: Option<&Counter>) -> Result<(), String> {
    match kept {
        Some(kept) if kept.records == here.records && kept.last != here.last => Err(format!(
            "record {} is not the one that was written: these are the records of another \
             ledger, or of a copy that went its own way",
            here.records
        )),
        _ => Ok(()),
    }
}

/// All records that the counter knows must be there, and at most one more.
fn check_length(found: &Counter, kept: Option<&Counter>) -> Result<(), String> {
    let written = kept.map_or(0, |kept| kept.records);
    if found.records < written {
        return Err(format!(
            "it holds {} records, but {written} were written: it was cut short, or an older \
             copy was put back; restore the newest one",
            found.records
        ));
    }
    if found.records > written + 1 {
        return Err(format!(
            "it holds {} records, but its counter says {written}: the counter was removed, or an \
             older one put back; restore the newest one",
            found.records
        ));
    }
    Ok(())
}

fn hash(previous: &str, record: &Record) -> Result<String, String> {
    let body = serde_json::to_string(record).map_err(|e| e.to_string())?;
    Ok(hex::encode(digest(&SHA256, format!("{previous}\n{body}").as_bytes())))
}
