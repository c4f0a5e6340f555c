//! Numbers from a seed.

/// A stream of numbers; equal seeds give equal streams.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

/// A thousandth.
pub(crate) type PerMille = u32;

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

impl Rng {
    /// The stream `stream` of a seed, from its place `at` on. Streams have nothing to do with each other.
    pub(crate) fn of(seed: u64, stream: u64, at: u64) -> Self {
        let start = mix(seed ^ mix(stream.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        Self(mix(start ^ at.wrapping_mul(0xD1B5_4A32_D192_ED03)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Below `bound`; zero for a bound of zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub(crate) fn range(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn chance(&mut self, of: PerMille) -> bool {
        self.below(1000) < of as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// An index, each as likely as its weight says.
    pub(crate) fn weighted(&mut self, weights: &[u32]) -> usize {
        let sum: u32 = weights.iter().sum();
        let mut at = self.below(sum as usize) as u32;
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        0
    }
}
