//! Text as numbers, by a public hash: no vocabulary is learned from private messages.

/// What a text becomes.
///
/// Its words are its longest runs of letters and digits, in lower case and with every digit read
/// as 0 (so that telephone numbers of one length are one word), and each other character that is
/// no blank. A word is known by its hash (64-bit FNV-1a, halves folded), so unrelated words may
/// share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// How often each word and each pair of neighbouring words occurs, scaled to L2 length 1:
    /// `[buckets]`.
    Bag {
        /// Numbers that words and pairs are hashed to.
        buckets: usize,
    },
    /// The first words one after the other, each a whole number `1..=words`, then 0:
    /// `[length]`.
    Tokens {
        /// Words taken, the rest is left out.
        length: usize,
        /// Numbers that words are hashed to; an embedding needs one more, for 0.
        words: u16,
    },
}

impl TextForm {
    /// Shape of what a text becomes.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match *self {
            Self::Bag { buckets } => vec![buckets],
            Self::Tokens { length, .. } => vec![length],
        }
    }

    /// A text's numbers, as many as [`shape`](Self::shape) says.
    ///
    /// # Edge cases
    /// | text or form | result |
    /// | --- | --- |
    /// | no words | all 0 |
    /// | `buckets` or `length` 0 | nothing |
    /// | `words` 0 | all 0 |
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<f32> {
        let words = words(text);
        match *self {
            Self::Bag { buckets } => bag(&words, buckets),
            Self::Tokens { length, words: most } => {
                let token = |word: &String| f32::from(token(hash(word), most));
                let tokens = words.iter().map(token).chain(std::iter::repeat(0.0));
                tokens.take(length).collect()
            }
        }
    }
}

fn bag(words: &[String], buckets: usize) -> Vec<f32> {
    let mut counts = vec![0.0_f32; buckets];
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    for word in words.iter().cloned().chain(pairs) {
        if let Some(bucket) = u64::from(hash(&word)).checked_rem(buckets as u64) {
            counts[bucket as usize] += 1.0;
        }
    }
    let length = counts.iter().map(|count| count * count).sum::<f32>().sqrt();
    if length > 0.0 {
        counts.iter_mut().for_each(|count| *count /= length);
    }
    counts
}

fn token(hash: u32, words: u16) -> u16 {
    hash.checked_rem(words.into()).map_or(0, |rest| rest as u16 + 1)
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut inside) = (Vec::<String>::new(), false);
    for character in text.chars() {
        let continues = character.is_alphanumeric();
        match words.last_mut() {
            _ if character.is_whitespace() => {}
            Some(word) if continues && inside => push(word, character),
            _ => {
                let mut word = String::new();
                push(&mut word, character);
                words.push(word);
            }
        }
        inside = continues;
    }
    words
}

fn push(word: &mut String, character: char) {
    match character.is_numeric() {
        true => word.push('0'),
        false => word.extend(character.to_lowercase()),
    }
}

/// 64-bit FNV-1a (Fowler, Noll and Vo), its halves folded into 32 bits as its authors say.
pub(super) fn hash(text: &str) -> u32 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_and_every_other_sign() {
        let found = words(" FREE!! Call 0871-555\tnow, \u{c9}t\u{e9} ");
        assert_eq!(found, ["free", "!", "!", "call", "0000", "-", "000", "now", ",", "été"]);
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors of FNV-1a, 64 bits: "" and "foobar".
        for (text, published) in
            [("", 0xcbf2_9ce4_8422_2325_u64), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(hash(text), (published ^ (published >> 32)) as u32);
        }
    }

    #[test]
    fn a_bag_counts_words_and_pairs_and_has_length_one() {
        let bag = TextForm::Bag { buckets: 1 << 16 }.encode("no no yes");
        let at = |text: &str| bag[hash(text) as usize % (1 << 16)];
        let found = [at("no"), at("yes"), at("no no"), at("no yes")];
        assert_eq!(found, [2.0, 1.0, 1.0, 1.0].map(|count: f32| count / 7_f32.sqrt()));
        assert_eq!(bag.iter().filter(|x| **x != 0.0).count(), 4);
    }

    #[test]
    fn tokens_are_cut_and_filled_up() {
        let encode = |length, words| TextForm::Tokens { length, words }.encode("a b a");
        let tokens = encode(5, 1000);
        assert!(tokens[0] == tokens[2] && tokens[0] != tokens[1], "{tokens:?}");
        assert!(tokens[..3].iter().all(|t| (1.0..=1000.0).contains(t)), "{tokens:?}");
        assert_eq!(tokens[3..], [0.0, 0.0]);
        assert_eq!(encode(2, 1000), tokens[..2]);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert_eq!(TextForm::Bag { buckets: 3 }.encode(" \n"), [0.0; 3]);
        assert!(TextForm::Bag { buckets: 0 }.encode("a b").is_empty());
        assert_eq!(TextForm::Tokens { length: 2, words: 7 }.encode(""), [0.0; 2]);
        assert_eq!(TextForm::Tokens { length: 2, words: 0 }.encode("a b"), [0.0; 2]);
    }
}
