//! One arithmetic for two sizes: machine words, where a bound is proven or checked, and
//! numbers of any length.

use num_bigint::BigUint;
use num_integer::Integer;
use num_traits::CheckedMul;
use rand::CryptoRng;

/// Natural numbers. Multiplication says when the size is exceeded; nothing else used here
/// makes numbers larger.
pub(super) trait Natural: Integer + CheckedMul + Clone + From<u64> + From<u128> {
    /// Uniform on 0, .., self - 1, for self > 0.
    fn uniform_below<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Self;

    /// The same number, without a limit of size.
    fn widen(&self) -> BigUint;
}

impl Natural for u128 {
    fn uniform_below<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Self {
        let spare = (self - 1).leading_zeros();
        let mask = Self::MAX.checked_shr(spare).unwrap_or(0);
        let length = (Self::BITS - spare).div_ceil(8) as usize;
        loop {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes[..length]);
            let found = Self::from_le_bytes(bytes) & mask;
            if found < *self {
                return found;
            }
        }
    }

    fn widen(&self) -> BigUint {
        (*self).into()
    }
}

impl Natural for BigUint {
    fn uniform_below<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Self {
        let bits = (self - 1_u32).bits();
        let mut bytes = vec![0; bits.div_ceil(8) as usize];
        let spare = 8 * bytes.len() as u64 - bits;
        loop {
            rng.fill_bytes(&mut bytes);
            if let Some(highest) = bytes.last_mut() {
                *highest &= u8::MAX >> spare;
            }
            let found = Self::from_bytes_le(&bytes);
            if found < *self {
                return found;
            }
        }
    }

    fn widen(&self) -> BigUint {
        self.clone()
    }
}
