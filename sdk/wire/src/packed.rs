//! Signed integers packed to the fewest bits that hold the largest of them.

use adafed_privacy::RoundRelease;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A vector of integers, zigzag-coded at one width.
///
/// Only a release can be packed, and so leave the device:
///
/// ```
/// use adafed_privacy::RoundRelease;
/// use adafed_wire::{Error, PackedIntegers};
///
/// fn pack(values: &RoundRelease) -> Result<PackedIntegers, Error> {
///     PackedIntegers::pack(values)
/// }
/// ```
///
/// A clipped contribution, or a sum of them without noise, cannot:
///
/// ```compile_fail,E0308
/// use adafed_privacy::Clipped;
/// use adafed_wire::{Error, PackedIntegers};
///
/// fn pack(values: &Clipped<'_>) -> Result<PackedIntegers, Error> {
///     PackedIntegers::pack(values)
/// }
/// ```
///
/// ```compile_fail,E0308
/// use adafed_privacy::ClippedSum;
/// use adafed_wire::{Error, PackedIntegers};
///
/// fn pack(values: &ClippedSum) -> Result<PackedIntegers, Error> {
///     PackedIntegers::pack(values)
/// }
/// ```
///
/// Nor can integers of unknown origin:
///
/// ```compile_fail,E0308
/// use adafed_wire::{Error, PackedIntegers};
///
/// fn pack(values: &[i64]) -> Result<PackedIntegers, Error> {
///     PackedIntegers::pack(values)
/// }
/// ```
///
/// An integer cannot say NaN: a device that sends one sends malformed bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackedIntegers {
    count: u32,
    width: u8,
    #[serde(with = "serde_bytes")]
    bits: Vec<u8>,
}

/// Widest accepted value in bits, sign included. Honest noise needs about 10.
const WIDEST: u8 = 40;

impl PackedIntegers {
    /// Packs what a device releases in a round.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a value beyond 40 bits.
    pub fn pack(release: &RoundRelease) -> Result<Self, Error> {
        let values = release.values();
        let zigzag = |v: i64| ((v << 1) ^ (v >> 63)) as u64;
        let widest = values.iter().map(|&v| 64 - zigzag(v).leading_zeros()).max().unwrap_or(0);
        if widest > u32::from(WIDEST) {
            return Err(malformed(format!("a value needs {widest} bits, {WIDEST} are the most")));
        }
        let mut writer = BitWriter::default();
        values.iter().for_each(|&v| writer.push(zigzag(v), widest));
        Ok(Self { count: values.len() as u32, width: widest as u8, bits: writer.finish() })
    }

    /// The integers, of which there must be `expected`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when count, width and bytes do not fit each other.
    pub fn unpack(&self, expected: usize) -> Result<Vec<i64>, Error> {
        self.check(expected)?;
        let mut reader = BitReader::new(&self.bits);
        let unzigzag = |z: u64| (z >> 1) as i64 ^ -((z & 1) as i64);
        Ok((0..expected).map(|_| unzigzag(reader.pull(self.width.into()))).collect())
    }

    /// Whether these are `expected` integers: what [`unpack`](Self::unpack) asks before it
    /// begins.
    ///
    /// # Errors
    /// Those of [`unpack`](Self::unpack).
    pub fn check(&self, expected: usize) -> Result<(), Error> {
        if self.count as usize != expected {
            return Err(malformed(format!("{} values, expected {expected}", self.count)));
        }
        if self.width > WIDEST {
            return Err(malformed(format!("{} bits a value, {WIDEST} are the most", self.width)));
        }
        let bytes = (expected * usize::from(self.width)).div_ceil(8);
        if self.bits.len() != bytes {
            return Err(malformed(format!("{} bytes, expected {bytes}", self.bits.len())));
        }
        Ok(())
    }
}

fn malformed(reason: String) -> Error {
    Error::Malformed { what: "packed integers", reason }
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    filled: u32,
}

impl BitWriter {
    // `filled` < 8 before and width <= 40, so 64 bits always hold what is pending.
    fn push(&mut self, value: u64, width: u32) {
        self.pending |= value << self.filled;
        self.filled += width;
        while self.filled >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.filled -= 8;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}

struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    pending: u64,
    filled: u32,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter(), pending: 0, filled: 0 }
    }

    fn pull(&mut self, width: u32) -> u64 {
        while self.filled < width {
            let byte = self.bytes.next().copied().unwrap_or(0);
            self.pending |= u64::from(byte) << self.filled;
            self.filled += 8;
        }
        let value = self.pending & ((1 << width) - 1);
        self.pending >>= width;
        self.filled -= width;
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn release(values: &[i64]) -> RoundRelease {
        serde_json::from_value(values.into()).unwrap()
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(
            values in prop::collection::vec(-(1_i64 << 39)..(1_i64 << 39), 0..100), shift in 0..39,
        ) {
            let values: Vec<i64> = values.iter().map(|v| v >> shift).collect();
            let packed = PackedIntegers::pack(&release(&values)).unwrap();
            prop_assert_eq!(packed.unpack(values.len()).unwrap(), values);
        }
    }

    #[test]
    fn small_integers_take_few_bytes() {
        let packed = PackedIntegers::pack(&release(&[0, -1, 1, -2, 3, -4, 2, 0])).unwrap();
        assert_eq!((packed.width, packed.bits.len()), (3, 3));
    }

    #[test]
    fn parts_that_do_not_fit_each_other_are_refused() {
        let packed = PackedIntegers::pack(&release(&[5, -6, 7])).unwrap();
        assert!(packed.unpack(4).is_err());
        let cut = PackedIntegers { bits: packed.bits[..1].to_vec(), ..packed.clone() };
        assert!(cut.unpack(3).is_err());
        let wide = PackedIntegers { width: 41, ..packed };
        assert!(wide.unpack(3).is_err());
        assert!(PackedIntegers::pack(&release(&[1 << 40])).is_err());
    }
}
