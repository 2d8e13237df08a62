//! Integer ziggurat: rounded normal noise from 40 or 64 random bits a draw.
//!
//! The weights f(0) >= f(1) >= .. of the columns n are covered by LAYERS rectangles of
//! equal area v: layer i has w_i columns and the heights Y_i to Y_{i+1} = Y_i + v/w_i.
//! w_0 is the number of columns within REACH, w_i the least w with f(w) <= Y_i. A draw
//! picks a layer and in it a column, uniformly; columns below w_{i+1} lie under f and are
//! accepted, the others with probability (f(n) - Y_i) / (v/w_i). A column below w_i for
//! i < j and in the edge of layer j is then accepted with probability proportional to
//!
//!   sum_{i<j} v/w_i + (v/w_j) (f(n) - Y_j) / (v/w_j) = f(n).
//!
//! There is no special tail: the widest layer reaches over it, which costs 1 draw in 500.
//!
//! # Guarantee
//! With f and Y in f64 and u = 2^-53 the law is that of the rounded normal, conditioned
//! on |n| < w_0, up to a factor within e^±[`MOST_LOG_RATIO`] at every n:
//! - layer (bits), column (exact multiplication with rejection, Lemire, arXiv
//!   1805.10941, section 4), sign and the coin of an edge have exact probabilities;
//! - f errs by 6 u ([`RoundedNormal::weight`]);
//! - Y_j, summed with compensation, errs by 3 u of itself, and Y_j <= f(n) (1 + 12 u) at
//!   its columns; the difference, v/w_j and the quotient add u each;
//! - where f errs across a border the quotient leaves [0, 1] by at most 14 u of f and is
//!   clamped, instead of the line above.
//!
//! Together at most 24 u of f(n), hence 48 u < 2^-47 after normalisation.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;

use super::density::RoundedNormal;

/// Layers: the lowest 9 bits of a random word pick one.
const LAYERS: usize = 512;
const LAYER_BITS: u32 = 9;

/// Area of a layer over the standard deviation: the least at which the layers of the
/// continuous density, with the first as wide as REACH, cover it; and 2^-10 of it more
/// for the integer widths.
const AREA: f64 = 0.002_461_378_936 * (1.0 + 1.0 / 1024.0);

/// Bound 2^-47 on |ln| of the ratio of sampled to ideal probability; derived above.
pub(super) const MOST_LOG_RATIO: f64 = 1.0 / 140_737_488_355_328.0;

/// Random bytes a draw: of wide laws, and of all others.
pub(super) const LONG: usize = 8;
const SHORT: usize = 5;

/// Up to here [`SHORT`] is enough: 30 bits for the column, so that fewer than 1 in 25
/// are rejected for uniformity, and fewer than 1 in 1,000 at a deviation of 2^18.
const LARGEST_STD_OF_SHORT_DRAWS: f64 = 16_777_216.0;

/// Short draws that are attempted together, without branches.
const GROUP: usize = 64;

/// What a draw that ends early needs of a layer.
#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    /// Columns w_i.
    columns: u64,
    /// Columns wholly under f, w_{i+1}.
    inner: u64,
    /// Remainders of the multiplication below are rejected: 2^bits mod w_i, in the high
    /// bits.
    uneven: u64,
}

/// The heights of a layer: Y_i, and v/w_i.
#[derive(Clone, Copy, Debug, Default)]
struct Height {
    bottom: f64,
    rise: f64,
}

/// Sampler of one rounded normal law.
#[derive(Clone, Debug)]
pub(super) struct Ziggurat {
    law: RoundedNormal,
    /// Random bytes of a first attempt, SHORT or LONG.
    bytes: usize,
    /// Bits of a word that are not used.
    spare_bits: u32,
    layers: [Layer; LAYERS],
    heights: [Height; LAYERS],
    /// Of a law with SHORT draws: w_i in the high half, w_{i+1} in the low one.
    widths: [u64; LAYERS],
}

impl Ziggurat {
    /// Tables for a standard deviation that [`RoundedNormal::new`] takes: some 25 us.
    pub(super) fn new(std: f64) -> Self {
        let law = RoundedNormal::new(std);
        let bytes = if law.std() <= LARGEST_STD_OF_SHORT_DRAWS { SHORT } else { LONG };
        let spare_bits = 64 - 8 * bytes as u32 + LAYER_BITS + 1;
        let (layers, heights) = ([Layer::default(); LAYERS], [Height::default(); LAYERS]);
        let widths = [0; LAYERS];
        let mut ziggurat = Self { law, bytes, spare_bits, layers, heights, widths };
        let mut area = AREA * ziggurat.law.std();
        while !ziggurat.stack(area) {
            area *= 1.0 + 1.0 / 1024.0;
        }
        if bytes == SHORT {
            ziggurat.widths = ziggurat.layers.map(|layer| layer.columns << 32 | layer.inner);
        }
        ziggurat
    }

    /// Stacks layers of area `area`; whether they cover the weights.
    fn stack(&mut self, area: f64) -> bool {
        let (mut bottom, mut lost) = (0.0_f64, 0.0_f64);
        let mut columns = self.law.columns();
        for (layer, height) in self.layers.iter_mut().zip(&mut self.heights) {
            if columns == 0 {
                // Nothing is left to cover: draws of this layer are rejected.
                *layer = Layer::default();
                continue;
            }
            let rise = area / columns as f64;
            *height = Height { bottom, rise };
            let top = bottom + (rise + lost);
            lost += rise - (top - bottom);
            let inner = self.law.columns_above(top);
            *layer = Layer { columns, inner, uneven: uneven(columns, self.spare_bits) };
            (bottom, columns) = (top, inner);
        }
        columns == 0
    }

    /// Random bytes that [`Self::fill`] reads for each draw at first.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fills `out` with draws. `random` holds [`Self::bytes`] bytes for each; what the rare
    /// further attempts need comes from `rng`.
    pub(super) fn fill(&self, random: &[u8], rng: &mut ChaCha20Rng, out: &mut [i64]) {
        match self.bytes {
            SHORT => self.fill_short(random, rng, out),
            _ => self.fill_long(random, rng, out),
        }
        if !self.law.is_fine() {
            out.iter_mut().for_each(|value| *value = self.law.coarse(*value));
        }
    }

    fn fill_long(&self, random: &[u8], rng: &mut ChaCha20Rng, out: &mut [i64]) {
        for (value, bytes) in out.iter_mut().zip(random.as_chunks().0) {
            let word = u64::from_le_bytes(*bytes);
            let (signed, accepted) = self.attempt(word);
            *value = if accepted { signed } else { self.insist(word, rng) };
        }
    }

    /// As [`Self::fill_long`], a group of draws at a time. The low 32 bits of all words come
    /// first, then the high 8 of each.
    fn fill_short(&self, random: &[u8], rng: &mut ChaCha20Rng, out: &mut [i64]) {
        let (low, high) = random.split_at(4 * out.len());
        let low = low.as_chunks::<4>().0.chunks(GROUP);
        for ((out, low), high) in out.chunks_mut(GROUP).zip(low).zip(high.chunks(GROUP)) {
            let mut words = [0; GROUP];
            for (word, (low, high)) in words.iter_mut().zip(low.iter().zip(high)) {
                *word = u64::from(u32::from_le_bytes(*low)) | u64::from(*high) << 32;
            }
            let (mut values, mut settled) = ([0; GROUP], [false; GROUP]);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || self.attempt_all(&words, &mut values, &mut settled),
            );
            out.copy_from_slice(&values[..out.len()]);
            for (value, (settled, word)) in out.iter_mut().zip(settled.iter().zip(words)) {
                if !settled {
                    *value = self.insist(word, rng);
                }
            }
        }
    }

    /// [`Self::attempt`] for words of 40 bits: the column is `bits w_i / 2^30`, rounded down,
    /// and it is uniform if the remainder is at least `2^30 mod w_i`, so surely if it is at
    /// least w_i; the rest is left to [`Self::insist`].
    #[inline(always)]
    fn attempt_all(
        &self,
        words: &[u64; GROUP],
        values: &mut [i64; GROUP],
        settled: &mut [bool; GROUP],
    ) {
        const BITS: u32 = 8 * SHORT as u32 - LAYER_BITS - 1;
        let widths = words.map(|word| self.widths[word as usize % LAYERS]);
        for i in 0..GROUP {
            let (columns, inner) = (widths[i] >> 32, widths[i] & 0xFFFF_FFFF);
            let product = (words[i] >> (LAYER_BITS + 1)) * columns;
            let (column, rest) = (product >> BITS, product & ((1 << BITS) - 1));
            let sign = (words[i] >> LAYER_BITS) & 1;
            values[i] = signed(column, sign);
            settled[i] = (column < inner) & (rest >= columns) & (column >= sign);
        }
    }

    /// The signed column that `word` picks, and whether that settles the draw. Zero
    /// counts with one of its signs only.
    #[inline(always)]
    fn attempt(&self, word: u64) -> (i64, bool) {
        let (layer, column, even) = self.pick(word);
        let sign = (word >> LAYER_BITS) & 1;
        let accepted = (column < layer.inner) & even & (column >= sign);
        (signed(column, sign), accepted)
    }

    /// The layer and column that `word` picks, and whether the column is uniform.
    #[inline(always)]
    fn pick(&self, word: u64) -> (&Layer, u64, bool) {
        let layer = &self.layers[word as usize % LAYERS];
        let bits = (word >> (LAYER_BITS + 1)) << self.spare_bits;
        let product = u128::from(bits) * u128::from(layer.columns);
        (layer, (product >> 64) as u64, product as u64 >= layer.uneven)
    }

    /// A draw whose first attempt, with `word`, was not settled at once.
    #[cold]
    fn insist(&self, mut word: u64, rng: &mut ChaCha20Rng) -> i64 {
        loop {
            let (layer, column, even) = self.pick(word);
            let sign = (word >> LAYER_BITS) & 1;
            let possible = even & (column < layer.columns) & (column >= sign);
            if possible && (column < layer.inner || self.under_edge(word, column, rng)) {
                return signed(column, sign);
            }
            word = rng.next_u64();
        }
    }

    fn under_edge(&self, word: u64, column: u64, rng: &mut ChaCha20Rng) -> bool {
        let Height { bottom, rise } = self.heights[word as usize % LAYERS];
        happens((self.law.weight(column) - bottom) / rise, rng)
    }
}

/// 2^b mod `columns` for a word of b = 64 - `spare_bits` bits, times 2^`spare_bits`.
fn uneven(columns: u64, spare_bits: u32) -> u64 {
    let remainder = (1_u128 << (64 - spare_bits)) % u128::from(columns);
    (remainder as u64) << spare_bits
}

/// `column` negated where `sign` is 1.
#[inline(always)]
const fn signed(column: u64, sign: u64) -> i64 {
    ((column ^ sign.wrapping_neg()).wrapping_add(sign)) as i64
}

/// True with probability `p`, clamped to [0, 1]: exactly, for every p from 2^-960 up.
///
/// A uniform number of (0, 1), cut to 53 significant bits, is below an f64 if and only if
/// it is so uncut. Its binary exponent is geometric, its mantissa uniform.
fn happens(p: f64, rng: &mut ChaCha20Rng) -> bool {
    let mut scaled = p;
    for _ in 0..15 {
        let zeros = rng.next_u64().leading_zeros();
        scaled *= f64::from(zeros).exp2();
        if zeros < 64 {
            let mantissa = (rng.next_u64() >> 12) | (1 << 52);
            return (mantissa as f64 * f64::exp2(-53.0)) < scaled;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn rng(seed: u8) -> ChaCha20Rng {
        ChaCha20Rng::from_seed([seed; 32])
    }

    /// Weight of column `n` by the tables: the sum above.
    fn induced(ziggurat: &Ziggurat, n: u64) -> f64 {
        let part = |(layer, height): (&Layer, &Height)| {
            let edge = || ((ziggurat.law.weight(n) - height.bottom) / height.rise).clamp(0.0, 1.0);
            let accepted = match n {
                _ if n < layer.inner => 1.0,
                _ if n < layer.columns => edge(),
                _ => 0.0,
            };
            height.rise * accepted
        };
        ziggurat.layers.iter().zip(&ziggurat.heights).map(part).sum()
    }

    #[test]
    fn layers_induce_the_weights() {
        for std in [4096.0, 12_345.6, 262_144.0, 3e9] {
            let ziggurat = Ziggurat::new(std);
            let reach = ziggurat.law.columns() - 1;
            let spread = (0..4000).map(|i| reach * i / 4000).chain([reach]);
            let borders = ziggurat.layers.iter().flat_map(|l| [l.inner.saturating_sub(1), l.inner]);
            for n in spread.chain(borders) {
                let ratio = induced(&ziggurat, n) / ziggurat.law.weight(n);
                // The 24 u of the derivation and 256 for the sum in this test.
                assert!((ratio - 1.0).abs() <= 280.0 * f64::exp2(-53.0), "{std} {n}: {ratio}");
            }
        }
    }

    #[test]
    fn draws_in_groups_are_those_of_their_words() {
        for std in [9.0, 5_000.0, 262_144.0, LARGEST_STD_OF_SHORT_DRAWS] {
            let (ziggurat, mut random) = (Ziggurat::new(std), vec![0; SHORT * 10_007]);
            rng(4).fill_bytes(&mut random);
            let mut found = vec![0; 10_007];
            ziggurat.fill(&random, &mut rng(5), &mut found);
            let (low, high) = random.split_at(4 * found.len());
            let mut more = rng(5);
            for (index, found) in found.iter().enumerate() {
                let mut word = [0; 8];
                word[..4].copy_from_slice(&low[4 * index..][..4]);
                word[4] = high[index];
                let word = u64::from_le_bytes(word);
                let (signed, settled) = ziggurat.attempt(word);
                let value = if settled { signed } else { ziggurat.insist(word, &mut more) };
                let value = if ziggurat.law.is_fine() { value } else { ziggurat.law.coarse(value) };
                assert_eq!(*found, value, "{std}, {index}");
            }
        }
    }

    #[test]
    fn hardly_a_draw_needs_a_second_attempt() {
        for std in [9.0, 262_144.0, 2_097_152.0, 1e9] {
            let (ziggurat, mut rng) = (Ziggurat::new(std), rng(1));
            let settled = (0..100_000).filter(|_| ziggurat.attempt(rng.next_u64()).1).count();
            assert!(settled > 97_000, "{std}: {settled}");
        }
    }

    #[test]
    fn draws_beyond_six_deviations_happen_as_often_as_they_should() {
        let (ziggurat, mut rng) = (Ziggurat::new(65_536.0), rng(2));
        // A word of layer 0 that picks a column at 6.2 deviations, among some 440.
        let column = 406_323_u64;
        let scaled = u128::from(column) << (64 - ziggurat.spare_bits);
        let bits = (scaled / u128::from(ziggurat.layers[0].columns)) as u64 + 100;
        let word = bits << (LAYER_BITS + 1);
        assert!(ziggurat.pick(word).1 == column && ziggurat.pick(word).2);
        assert!(!ziggurat.attempt(word).1);
        let hits = (0..4_000_000).filter(|_| ziggurat.under_edge(word, column, &mut rng)).count();
        let expected = 4e6 * ziggurat.law.weight(column) / ziggurat.heights[0].rise;
        assert!(
            expected > 100.0 && (hits as f64 - expected).abs() < 6.0 * expected.sqrt(),
            "{hits}"
        );
        let mut draws = (0..4_000_000).map(|_| ziggurat.insist(word, &mut rng));
        assert!(draws.any(|draw| draw == column as i64), "a draw can be that far out");
    }

    #[test]
    fn coins_keep_their_probability() {
        let mut rng = rng(3);
        for p in [0.0, 1e-5, 0.25, 0.3, 0.999, 1.0] {
            let hits = (0..1_000_000).filter(|_| happens(p, &mut rng)).count() as f64;
            assert!((hits - 1e6 * p).abs() <= 6.0 * (1e6 * p * (1.0 - p)).sqrt(), "{p}: {hits}");
        }
        assert!(!happens(-0.1, &mut rng) && happens(1.1, &mut rng));
    }

    #[test]
    fn columns_of_a_layer_are_exactly_uniform() {
        // All 2^16 column words of a layer with 48 spare bits: each column equally often.
        for columns in [1_u64, 3, 1000, 4097] {
            let uneven = uneven(columns, 48);
            let mut counts = vec![0_u32; columns as usize];
            for bits in 0..1_u64 << 16 {
                let product = u128::from(bits << 48) * u128::from(columns);
                if product as u64 >= uneven {
                    counts[(product >> 64) as usize] += 1;
                }
            }
            assert!(counts.iter().all(|&c| c == (1 << 16) / columns as u32), "{columns}");
        }
    }
}
