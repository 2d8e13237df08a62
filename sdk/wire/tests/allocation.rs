//! What a body promises is not allocated for before it is there.
#![allow(clippy::unwrap_used)]

use adafed_wire::{
    CheckinRequest, EnrolRequest, MaskMessage, Message, ModelMessage, ScaleMessage, TaskPlan,
    VERSION, decode,
};

/// The largest allocation that [`decode`] guarantees for a short body, with room for the
/// text of the error.
const MOST: u64 = (1 << 20) + 4096;

fn held<M: Message>(body: &[u8]) -> u64 {
    allocation_counter::measure(|| assert!(decode::<M>(body).is_err())).bytes_max
}

#[test]
fn a_promised_length_is_not_allocated_for() {
    // As many bytes as a u32 can name, then 200 MiB, then 1 MiB: text, bytes and numbers.
    for length in [u32::MAX, 200 << 20, 1 << 20] {
        let [a, b, c, d] = length.to_le_bytes();
        let text = [VERSION, 252, a, b, c, d, b'a', b'b'];
        for held in [
            held::<CheckinRequest>(&text),
            held::<EnrolRequest>(&text),
            held::<ModelMessage>(&text),
            held::<TaskPlan>(&text),
            held::<MaskMessage>(&[VERSION, 9, 0, 252, a, b, c, d, 7]),
            held::<ScaleMessage>(&[VERSION, 1, 252, a, b, c, d, 0, 0, 0, 0]),
        ] {
            assert!(held <= MOST, "{held} bytes for a promise of {length}");
        }
    }
}
