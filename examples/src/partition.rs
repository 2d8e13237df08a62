//! How one data set is dealt to the devices of a simulated fleet.
//!
//! | name | who holds what |
//! | --- | --- |
//! | `iid` | a random share; sizes differ by at most one |
//! | `dirichlet:A` | each class is spread by shares drawn from Dirichlet(A, .., A): small `A` gives devices few classes and unequal sizes (Hsu, Qi and Brown 2019, section 3) |
//! | `shards:K` | the set sorted by label and cut into `K` pieces a device, dealt at random (McMahan et al. 2017, section 3) |

use std::collections::BinaryHeap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma};

/// What can go wrong while dealing a data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: a name that is none of the partitions.
    #[error(
        "\"{text}\" is no partition, expected iid, dirichlet:A (A above 0, for instance \
         dirichlet:0.5) or shards:K (K at least 1, for instance shards:2)"
    )]
    Name {
        /// What was given.
        text: String,
    },
    /// Caller: a Dirichlet concentration that is not a positive finite number.
    #[error("a Dirichlet partition needs a concentration above 0 and finite")]
    Concentration,
    /// Caller: a fleet without devices.
    #[error("there are no clients to deal examples to, expected at least 1")]
    NoClients,
    /// Caller: fewer examples than clients, or than shards.
    #[error("{examples} examples cannot fill {needed} {what}; take more examples or fewer clients")]
    TooFew {
        /// Examples to deal.
        examples: usize,
        /// Least number that could be dealt.
        needed: usize,
        /// What they would fill: clients or shards.
        what: &'static str,
    },
}

/// A rule for dealing examples to clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Partition {
    /// Equal random shares.
    Iid,
    /// Class shares from a symmetric Dirichlet distribution of this concentration.
    Dirichlet(f64),
    /// This many single-label pieces a client.
    Shards(usize),
}

impl Partition {
    /// Deals the examples with these labels: entry `c` of the result holds the indices
    /// of client `c`, ascending. Every index occurs exactly once, every client has at
    /// least one, and the same seed gives the same deal.
    ///
    /// # Errors
    /// [`Error::NoClients`], [`Error::TooFew`], or [`Error::Concentration`].
    pub fn split(
        &self,
        labels: &[u32],
        clients: usize,
        seed: u64,
    ) -> Result<Vec<Vec<usize>>, Error> {
        let clients = NonZeroUsize::new(clients).ok_or(Error::NoClients)?;
        require(labels.len(), clients.get(), "clients")?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut shares = match *self {
            Self::Iid => {
                let mut order: Vec<usize> = (0..labels.len()).collect();
                order.shuffle(&mut rng);
                cut(&order, clients).map(<[usize]>::to_vec).collect()
            }
            Self::Dirichlet(concentration) => dirichlet(labels, clients, concentration, &mut rng)?,
            Self::Shards(pieces) => shards(labels, clients, pieces, &mut rng)?,
        };
        shares.iter_mut().for_each(|share| share.sort_unstable());
        Ok(shares)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iid => f.write_str("iid"),
            Self::Dirichlet(concentration) => write!(f, "dirichlet:{concentration}"),
            Self::Shards(pieces) => write!(f, "shards:{pieces}"),
        }
    }
}

impl FromStr for Partition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = match text.split_once(':') {
            None if text == "iid" => Some(Self::Iid),
            Some(("dirichlet", a)) => {
                a.parse().ok().filter(|&a| valid_concentration(a)).map(Self::Dirichlet)
            }
            Some(("shards", k)) => k.parse().ok().filter(|&k| k > 0).map(Self::Shards),
            _ => None,
        };
        parsed.ok_or_else(|| Error::Name { text: text.to_owned() })
    }
}

fn valid_concentration(a: f64) -> bool {
    a.is_finite() && a > 0.0
}

fn require(examples: usize, needed: usize, what: &'static str) -> Result<(), Error> {
    if examples < needed {
        return Err(Error::TooFew { examples, needed, what });
    }
    Ok(())
}

/// `items` in `parts` consecutive pieces whose lengths differ by at most one.
fn cut<T>(items: &[T], parts: NonZeroUsize) -> impl Iterator<Item = &[T]> {
    let (short, longer) = (items.len() / parts, items.len() % parts);
    (0..parts.get()).map(move |part| {
        let start = part * short + part.min(longer);
        &items[start..start + short + usize::from(part < longer)]
    })
}

fn shards(
    labels: &[u32],
    clients: NonZeroUsize,
    pieces: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Vec<usize>>, Error> {
    let total = clients.get().saturating_mul(pieces);
    let total = NonZeroUsize::new(total).ok_or(Error::TooFew {
        examples: labels.len(),
        needed: clients.get(),
        what: "shards",
    })?;
    require(labels.len(), total.get(), "shards")?;
    let order: Vec<usize> = by_label(labels, rng).concat();
    let mut dealt: Vec<&[usize]> = cut(&order, total).collect();
    dealt.shuffle(rng);
    Ok(dealt.chunks(pieces).map(<[&[usize]]>::concat).collect())
}

fn dirichlet(
    labels: &[u32],
    clients: NonZeroUsize,
    concentration: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Vec<usize>>, Error> {
    if !valid_concentration(concentration) {
        return Err(Error::Concentration);
    }
    let mut shares = vec![Vec::new(); clients.get()];
    for class in by_label(labels, rng) {
        let proportions = dirichlet_proportions(clients.get(), concentration, rng)?;
        let (mut start, mut sum) = (0, 0.0);
        for (share, proportion) in shares.iter_mut().zip(&proportions) {
            sum += proportion;
            let end = ((sum * class.len() as f64).round() as usize).clamp(start, class.len());
            share.extend_from_slice(&class[start..end]);
            start = end;
        }
        // Rounding may leave the sum of the proportions just below 1.
        shares[clients.get() - 1].extend_from_slice(&class[start..]);
    }
    feed_empty(&mut shares);
    Ok(shares)
}

/// One draw from Dirichlet(a, .., a): `g_i / sum g` with `g_i ~ Gamma(a)`.
///
/// With small `a` every `g_i` may underflow to zero, so they are drawn as logarithms:
/// `ln g = ln Gamma(a + 1) + ln(U) / a` (Marsaglia and Tsang 2000, section 6).
fn dirichlet_proportions(
    clients: usize,
    concentration: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<f64>, Error> {
    let gamma = Gamma::new(concentration + 1.0, 1.0).map_err(|_| Error::Concentration)?;
    let mut draw = || {
        let uniform: f64 = 1.0 - rng.random::<f64>();
        gamma.sample(rng).ln() + uniform.ln() / concentration
    };
    let logs: Vec<f64> = (0..clients).map(|_| draw()).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    Ok(weights.into_iter().map(|weight| weight / total).collect())
}

/// Indices of each class in ascending order of label, shuffled within the class.
fn by_label(labels: &[u32], rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut classes = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    let mut classes: Vec<_> = classes.into_values().collect();
    classes.iter_mut().for_each(|class| class.shuffle(rng));
    classes
}

/// Gives every client without examples one from the client that has most. There are at
/// least as many examples as clients, so the giver always keeps one.
fn feed_empty(shares: &mut [Vec<usize>]) {
    let mut givers: BinaryHeap<(usize, usize)> =
        shares.iter().enumerate().map(|(client, share)| (share.len(), client)).collect();
    for client in 0..shares.len() {
        if !shares[client].is_empty() {
            continue;
        }
        let Some((size, giver)) = givers.pop() else { return };
        if let Some(index) = shares[giver].pop() {
            shares[client].push(index);
            givers.push((size - 1, giver));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_partition() -> impl Strategy<Value = Partition> {
        prop_oneof![
            Just(Partition::Iid),
            prop_oneof![Just(1e-3), 0.05..5.0, Just(1e9)].prop_map(Partition::Dirichlet),
            (1usize..4).prop_map(Partition::Shards),
        ]
    }

    fn labels(count: usize) -> Vec<u32> {
        (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 16).map(|x| x % 10).collect()
    }

    proptest! {
        #[test]
        fn every_example_goes_to_one_client_and_every_client_has_one(
            partition in any_partition(), clients in 1usize..40, extra in 0usize..300, seed: u64,
        ) {
            let labels = labels(4 * clients + extra);
            let shares = partition.split(&labels, clients, seed).unwrap();
            prop_assert_eq!(shares.len(), clients);
            prop_assert!(shares.iter().all(|share| !share.is_empty()));
            let mut all = shares.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        }

        #[test]
        fn the_seed_alone_decides(partition in any_partition(), seed: u64) {
            let labels = labels(500);
            let once = partition.split(&labels, 10, seed).unwrap();
            prop_assert_eq!(&once, &partition.split(&labels, 10, seed).unwrap());
            prop_assert_ne!(once, partition.split(&labels, 10, seed ^ 1).unwrap());
        }

        #[test]
        fn iid_shares_differ_by_at_most_one(clients in 1usize..40, extra in 0usize..300) {
            let shares = Partition::Iid.split(&labels(clients + extra), clients, 1).unwrap();
            let sizes = shares.iter().map(Vec::len);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }

        #[test]
        fn a_partition_reads_what_it_shows(partition in any_partition()) {
            prop_assert_eq!(partition.to_string().parse(), Ok(partition));
        }
    }

    fn classes_held(share: &[usize], labels: &[u32]) -> usize {
        share.iter().map(|&i| labels[i]).collect::<std::collections::BTreeSet<_>>().len()
    }

    #[test]
    fn shards_give_a_client_few_classes() {
        let labels: Vec<u32> = (0..1_000).map(|i| i % 10).collect();
        let shares = Partition::Shards(2).split(&labels, 10, 3).unwrap();
        assert!(shares.iter().all(|share| classes_held(share, &labels) <= 2));
        assert!(shares.iter().all(|share| share.len() == 100));
    }

    #[test]
    fn a_smaller_concentration_gives_more_skew() {
        let labels = labels(5_000);
        let held = |a| {
            let shares = Partition::Dirichlet(a).split(&labels, 10, 5).unwrap();
            shares.iter().map(|share| classes_held(share, &labels)).sum::<usize>()
        };
        assert!(held(0.05) < held(0.5) && held(0.5) < held(100.0));
        assert_eq!(held(100.0), 100);
    }

    #[test]
    fn what_cannot_be_dealt_is_refused() {
        let split = |partition: Partition, count, clients| {
            partition.split(&labels(count), clients, 0).unwrap_err()
        };
        assert_eq!(split(Partition::Iid, 5, 0), Error::NoClients);
        let too_few = |examples, needed, what| Error::TooFew { examples, needed, what };
        assert_eq!(split(Partition::Dirichlet(1.0), 5, 6), too_few(5, 6, "clients"));
        assert_eq!(split(Partition::Shards(2), 11, 6), too_few(11, 12, "shards"));
        assert_eq!(split(Partition::Shards(usize::MAX), 9, 6), too_few(9, usize::MAX, "shards"));
        for a in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(split(Partition::Dirichlet(a), 9, 3), Error::Concentration);
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        for text in [
            "",
            "IID",
            "iid:1",
            "dirichlet",
            "dirichlet:",
            "dirichlet:0",
            "dirichlet:nan",
            "dirichlet:inf",
            "dirichlet:-1",
            "shards",
            "shards:0",
            "shards:1.5",
            "random",
        ] {
            let error = text.parse::<Partition>().unwrap_err();
            assert_eq!(error, Error::Name { text: text.to_owned() });
        }
    }
}
