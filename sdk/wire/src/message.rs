//! The messages between devices and a server.

use adafed_algorithm::{Layout, Mask, Pooling, Provenance, Standardisation, groups};
use serde::{Deserialize, Serialize};

use crate::codec::Message;
use crate::packed::PackedIntegers;
use crate::plan::MOST_PARAMETERS;
use crate::{DeviceId, Digest, Error, TaskId};

/// A device introduces itself. The request is signed with the key it brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// Enrolment token of the server.
    pub token: String,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
}

impl Message for EnrolRequest {
    const NAME: &'static str = "enrolment";
    const LIMIT: usize = 1 << 10;
}

/// The server knows the device now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// Name under which the device signs.
    pub device: DeviceId,
}

impl Message for EnrolResponse {
    const NAME: &'static str = "enrolment answer";
    const LIMIT: usize = 1 << 10;
}

/// A device asks for work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckinRequest {
    /// Task the device wants to work on.
    pub task: TaskId,
    /// Version of the SDK, such as `0.1.0`.
    pub version: String,
}

impl Message for CheckinRequest {
    const NAME: &'static str = "check-in";
    const LIMIT: usize = 1 << 10;
}

/// What the server answers to a check-in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CheckinResponse {
    /// Take part in this round.
    Join(Assignment),
    /// Nothing now; ask again after so many milliseconds.
    Wait {
        /// Milliseconds.
        retry_after_ms: u64,
    },
    /// The task has ended; its model is this.
    Finished {
        /// Digest of the final model.
        model: Digest,
    },
}

impl Message for CheckinResponse {
    const NAME: &'static str = "check-in answer";
    const LIMIT: usize = 1 << 10;
}

/// One device's part in one round: what to fetch, all of it by content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The round.
    pub round: u64,
    /// The task's plan.
    pub plan: Digest,
    /// The model.
    pub model: Digest,
    /// The mask.
    pub mask: Digest,
    /// The standardisation.
    pub scale: Digest,
}

/// A model's parameters, in flat order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelMessage {
    /// Little-endian f32, `[d]`.
    #[serde(with = "float_bytes")]
    pub parameters: Vec<f32>,
}

impl Message for ModelMessage {
    const NAME: &'static str = "model";
    const LIMIT: usize = 4 * MOST_PARAMETERS + 64;
}

/// A mask, as a bitmap in flat order; empty bytes stand for a full mask of the provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskMessage {
    /// Number d of coordinates.
    pub len: u32,
    /// Where the mask comes from.
    pub provenance: Provenance,
    /// Bit j of byte j / 8 says whether coordinate j is active.
    #[serde(with = "serde_bytes")]
    pub bitmap: Vec<u8>,
}

impl Message for MaskMessage {
    const NAME: &'static str = "mask";
    const LIMIT: usize = MOST_PARAMETERS / 8 + 64;
}

impl MaskMessage {
    /// Encodes a mask.
    #[must_use]
    pub fn new(mask: &Mask) -> Self {
        let mut bitmap = Vec::new();
        if mask.active_count() < mask.len() {
            bitmap = vec![0_u8; mask.len().div_ceil(8)];
            mask.indices().for_each(|j| bitmap[j / 8] |= 1 << (j % 8));
        }
        Self { len: mask.len() as u32, provenance: mask.provenance(), bitmap }
    }

    /// The mask, for a model of `d` parameters.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is for another number of coordinates, or empty.
    pub fn mask(&self, d: usize) -> Result<Mask, Error> {
        let malformed = |reason: String| Error::Malformed { what: Self::NAME, reason };
        if self.len as usize != d {
            return Err(malformed(format!("{} coordinates, the model has {d}", self.len)));
        }
        if self.bitmap.is_empty() {
            return Ok(Mask::published(d, (0..self.len).collect(), self.provenance)?);
        }
        if self.bitmap.len() != d.div_ceil(8) {
            return Err(malformed(format!("{} bytes for {d} coordinates", self.bitmap.len())));
        }
        let bits = 0..(self.bitmap.len() * 8) as u32;
        let set = |j: &u32| self.bitmap[*j as usize / 8] >> (j % 8) & 1 == 1;
        Ok(Mask::published(d, bits.filter(set).collect(), self.provenance)?)
    }
}

/// The standardisation of a round. Centres travel on active coordinates only; scales
/// once a group where the plan pools them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleMessage {
    /// Centres a at active coordinates; `None` is 0 everywhere.
    pub centre: Option<Vec<f32>>,
    /// Scales b at active coordinates or one a group; `None` is 1 everywhere.
    pub scale: Option<Vec<f32>>,
    /// What one entry of `scale` stands for.
    pub pooling: Pooling,
}

impl Message for ScaleMessage {
    const NAME: &'static str = "scale state";
    const LIMIT: usize = 8 * MOST_PARAMETERS + 64;
}

impl ScaleMessage {
    /// Encodes a standardisation.
    #[must_use]
    pub fn new(s: &Standardisation, mask: &Mask, layout: &Layout, pooling: Pooling) -> Self {
        let at_active = |x: &[f32]| mask.indices().map(|j| x[j]).collect();
        let centre = s.centres().map(at_active);
        let scale = s.scales().map(|b| match pooling {
            Pooling::Coordinate => at_active(b),
            _ => Self::of_groups(b, mask, layout, pooling),
        });
        Self { centre, scale, pooling }
    }

    /// One value a group: that of its first active coordinate, 1 where none is active.
    fn of_groups(b: &[f32], mask: &Mask, layout: &Layout, pooling: Pooling) -> Vec<f32> {
        let active = mask.active();
        let first = |range: &std::ops::Range<usize>| {
            let at = active.partition_point(|&j| (j as usize) < range.start);
            active.get(at).map(|&j| j as usize).filter(|j| range.contains(j))
        };
        groups(layout, pooling).iter().map(|g| first(g).map_or(1.0, |j| b[j])).collect()
    }

    /// The standardisation under a mask.
    ///
    /// # Errors
    /// [`Error::Malformed`] when its lengths do not fit the mask and the layout, and
    /// those of [`Standardisation::new`].
    pub fn standardisation(&self, mask: &Mask, layout: &Layout) -> Result<Standardisation, Error> {
        let centre = self.centre.as_deref().map(|a| spread(a, mask, 0.0)).transpose()?;
        let scale = match (self.scale.as_deref(), self.pooling) {
            (None, _) => None,
            (Some(b), Pooling::Coordinate) => Some(spread(b, mask, 1.0)?),
            (Some(b), pooling) => Some(spread_groups(b, &groups(layout, pooling), mask)?),
        };
        Ok(Standardisation::new(mask.len(), centre, scale)?)
    }
}

fn spread(values: &[f32], mask: &Mask, elsewhere: f32) -> Result<Vec<f32>, Error> {
    check_count(values.len(), mask.active_count())?;
    let mut dense = vec![elsewhere; mask.len()];
    mask.indices().zip(values).for_each(|(j, &x)| dense[j] = x);
    Ok(dense)
}

fn spread_groups(
    values: &[f32],
    groups: &[std::ops::Range<usize>],
    mask: &Mask,
) -> Result<Vec<f32>, Error> {
    check_count(values.len(), groups.len())?;
    let mut dense = vec![1.0; mask.len()];
    for (group, &b) in groups.iter().zip(values) {
        dense[group.clone()].fill(b);
    }
    // Frozen coordinates have scale 1 by definition, whatever their group's.
    let mut exact = vec![1.0; mask.len()];
    mask.indices().for_each(|j| exact[j] = dense[j]);
    Ok(exact)
}

fn check_count(found: usize, expected: usize) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let reason = format!("{found} values, expected {expected}");
    Err(Error::Malformed { what: ScaleMessage::NAME, reason })
}

/// A device's release of one round: noised integers at active coordinates, and what
/// they were computed under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: u64,
    /// Plan the device trained under.
    pub plan: Digest,
    /// Model the device started from.
    pub model: Digest,
    /// Mask the device trained under.
    pub mask: Digest,
    /// Noised sums over the round's local steps, in units of 2^shift grid steps.
    pub values: PackedIntegers,
}

impl Message for Update {
    const NAME: &'static str = "update";
    const LIMIT: usize = 4 * MOST_PARAMETERS + 1024;
}

/// The server took an update, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whether these very bytes had been taken before.
    pub duplicate: bool,
}

impl Message for Receipt {
    const NAME: &'static str = "receipt";
    const LIMIT: usize = 1 << 10;
}

/// f32 vectors as one byte string, which the codec copies instead of visiting entry by
/// entry.
mod float_bytes {
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(values: &[f32], s: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        serde_bytes::serialize(&bytes, s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f32>, D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(d)?;
        let (words, rest) = bytes.as_chunks::<4>();
        if rest.is_empty() {
            return Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect());
        }
        Err(D::Error::custom("its length is not a multiple of 4 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};
    use adafed_algorithm::TensorLayout;

    fn layout() -> Layout {
        let tensor =
            |name: &str, shape: &[usize]| TensorLayout { name: name.into(), shape: shape.to_vec() };
        Layout { tensors: vec![tensor("w", &[3, 4]), tensor("b", &[3])] }
    }

    #[test]
    fn masks_and_scales_come_back_as_they_were() {
        let mask = Mask::published(15, vec![0, 3, 4, 9, 14], Provenance::Released).unwrap();
        let message = decode::<MaskMessage>(&encode(&MaskMessage::new(&mask)).unwrap()).unwrap();
        assert_eq!(message.mask(15).unwrap(), mask);
        assert!(message.mask(16).is_err());
        for pooling in [Pooling::Coordinate, Pooling::Row, Pooling::Tensor] {
            let b = |j: usize| if mask.active().contains(&(j as u32)) { 2.0 } else { 1.0 };
            let scale = Some((0..15).map(b).collect());
            let centre = Some((0..15).map(|j| b(j) - 1.0).collect());
            let s = Standardisation::new(15, centre, scale).unwrap();
            let message = ScaleMessage::new(&s, &mask, &layout(), pooling);
            let message: ScaleMessage = decode(&encode(&message).unwrap()).unwrap();
            assert_eq!(message.standardisation(&mask, &layout()).unwrap(), s, "{pooling:?}");
        }
    }

    #[test]
    fn a_full_mask_takes_a_few_bytes() {
        let bytes = encode(&MaskMessage::new(&Mask::full(26_010))).unwrap();
        assert!(bytes.len() < 16);
        assert_eq!(
            decode::<MaskMessage>(&bytes).unwrap().mask(26_010).unwrap(),
            Mask::full(26_010)
        );
    }

    #[test]
    fn a_full_mask_keeps_its_provenance() {
        let every = Mask::published(9, (0..9).collect(), Provenance::Released).unwrap();
        assert_eq!(MaskMessage::new(&every).mask(9), Ok(every));
    }

    #[test]
    fn a_mask_of_no_coordinates_is_refused() {
        let (len, provenance, bitmap) = (0, Provenance::Public, Vec::new());
        assert!(MaskMessage { len, provenance, bitmap }.mask(0).is_err());
    }

    #[test]
    fn damaged_bytes_are_refused_by_name() {
        let model = ModelMessage { parameters: vec![1.0, -2.5] };
        let bytes = encode(&model).unwrap();
        assert_eq!(decode::<ModelMessage>(&bytes).unwrap(), model);
        let mut versioned = bytes.clone();
        versioned[0] = 9;
        let mut longer = bytes.clone();
        longer.push(0);
        for (bytes, expected) in [
            (&b""[..], "empty"),
            (&versioned, "version 9"),
            (&longer, "follow its end"),
            (&bytes[..bytes.len() - 1], "malformed model"),
        ] {
            let error = decode::<ModelMessage>(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_promised_length_is_not_believed() {
        // A body of ten bytes that announces 2^60 parameters must not be allocated for.
        let body = [crate::VERSION, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(decode::<ModelMessage>(&body).is_err());
    }

    #[test]
    fn a_body_over_its_limit_is_refused_before_it_is_read() {
        let error = decode::<Receipt>(&vec![crate::VERSION; 2_000]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 1024, .. }), "{error}");
    }
}
