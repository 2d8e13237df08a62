//! Exact sums of integers, whatever their number and order.

/// One sum a place. Terms are added in i32, at half the memory traffic of i64, for as long
/// as no sum can leave it.
#[derive(Clone)]
pub(super) struct Integers {
    pub(super) partial: Vec<i32>,
    /// What the sums of magnitudes may still grow by, at every place.
    room: u32,
    /// Empty until the first fold.
    total: Vec<i64>,
}

const ROOM: u32 = i32::MAX as u32;

impl Integers {
    pub(super) fn new(len: usize) -> Self {
        Self { partial: vec![0; len], room: ROOM, total: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }

    /// Whether magnitudes of `most` more fit at every place.
    pub(super) const fn has_room(&self, most: u32) -> bool {
        self.room >= most
    }

    /// Takes the room for terms whose magnitudes add up to at most `most` at every place.
    ///
    /// # Panics
    /// Where there is not so much; [`Integers::fold`] makes 2^31 - 1 of it.
    pub(super) fn take_room(&mut self, most: u32) {
        self.room = self.room.checked_sub(most).expect("room was made before it was taken");
    }

    /// Moves the i32 sums into the i64 ones.
    pub(super) fn fold(&mut self) {
        self.total.resize(self.partial.len(), 0);
        for (total, partial) in self.total.iter_mut().zip(&mut self.partial) {
            *total += i64::from(std::mem::take(partial));
        }
        self.room = ROOM;
    }

    /// Adds the sums at `places`, counted from `start`, to `values`.
    pub(super) fn add_to(&self, start: usize, places: &[u32], values: &mut [i64]) {
        for (value, place) in values.iter_mut().zip(places) {
            *value += i64::from(self.partial[*place as usize - start]);
        }
        if !self.total.is_empty() {
            for (value, place) in values.iter_mut().zip(places) {
                *value += self.total[*place as usize - start];
            }
        }
    }

    /// Back to zero.
    pub(super) fn clear(&mut self) {
        if self.room < ROOM {
            self.partial.fill(0);
        }
        self.total.fill(0);
        self.room = ROOM;
    }
}
