//! Header `Range`: which part of a content is asked for. Input of strangers, read here only.

use std::ops::Range;

use http_range_header::parse_range_header;

use crate::Error;

/// What part of a content is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// These bytes, which lie within it.
    Bytes(Range<usize>),
}

/// Reads the header for a content of `length` bytes. A header that is malformed, in another
/// unit or asks for several ranges is passed over, as RFC 9110 section 14.2 has it.
///
/// # Errors
/// [`Error::Range`] for a range that begins at or after the end of the content.
pub(crate) fn parse(header: &str, length: usize) -> Result<Part, Error> {
    // The only header that several ranges can come in; refused before anything is allocated.
    if header.contains(',') {
        return Ok(Part::Whole);
    }
    let Ok(ranges) = parse_range_header(header) else { return Ok(Part::Whole) };
    let outside = Error::Range { length };
    // The parser takes a last byte before the first as unsatisfiable, and a range of an empty
    // content as 0 to 0.
    let Ok(valid) = ranges.validate(length as u64) else { return Err(outside) };
    match valid.first().map(|r| (*r.start() as usize, *r.end() as usize)) {
        Some((first, last)) if first <= last && last < length => Ok(Part::Bytes(first..last + 1)),
        _ => Err(outside),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_within_the_content_is_taken() {
        for (header, expected) in [
            ("bytes=0-3", 0..4),
            ("bytes=4-", 4..10),
            ("bytes=-2", 8..10),
            ("bytes=8-99", 8..10),
            ("bytes=9-9", 9..10),
        ] {
            assert_eq!(parse(header, 10).unwrap(), Part::Bytes(expected), "{header}");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_passed_over() {
        for header in ["", "bytes", "bytes=", "bytes=x-y", "items=0-1", "bytes=0-1,3-4", "0-1"] {
            assert_eq!(parse(header, 10).unwrap(), Part::Whole, "{header}");
        }
    }

    #[test]
    fn a_range_outside_the_content_is_refused_with_its_length() {
        for (header, length) in [("bytes=10-", 10), ("bytes=0-0", 0), ("bytes=10-20", 10)] {
            let error = parse(header, length).unwrap_err();
            assert!(matches!(error, Error::Range { length: l } if l == length), "{header}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_lies_within_the_content(
            header in "(bytes=)?[0-9, =-]{0,24}|\\PC{0,24}",
            length in 0_usize..1_000,
        ) {
            if let Ok(Part::Bytes(range)) = parse(&header, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
