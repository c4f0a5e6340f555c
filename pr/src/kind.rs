//! SCOPE, TYPE and reservation keys (SPC-4 6.15.3, 6.16.2).

use std::fmt;

/// A reservation key. On the wire zero means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(pub u64);

impl ReservationKey {
    /// The value that no registration has.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for ReservationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}h", self.0)
    }
}

/// TYPE of a persistent reservation (SPC-4 6.15.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationType {
    /// 1h: the holder writes, all read.
    WriteExclusive,
    /// 3h: the holder reads and writes.
    ExclusiveAccess,
    /// 5h: registered nexuses write, all read.
    WriteExclusiveRegistrantsOnly,
    /// 6h: registered nexuses read and write.
    ExclusiveAccessRegistrantsOnly,
    /// 7h: as 5h, and each registered nexus is a holder.
    WriteExclusiveAllRegistrants,
    /// 8h: as 6h, and each registered nexus is a holder.
    ExclusiveAccessAllRegistrants,
}

impl ReservationType {
    /// All of them, ascending by code.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::WriteExclusive => 1,
            Self::ExclusiveAccess => 3,
            Self::WriteExclusiveRegistrantsOnly => 5,
            Self::ExclusiveAccessRegistrantsOnly => 6,
            Self::WriteExclusiveAllRegistrants => 7,
            Self::ExclusiveAccessAllRegistrants => 8,
        }
    }

    /// The type with this code; `None` for obsolete and reserved ones.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether registered nexuses other than a holder keep all rights.
    #[must_use]
    pub const fn for_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether each registered nexus is a holder.
    #[must_use]
    pub const fn all_registrants(self) -> bool {
        matches!(
            self,
            Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether nexuses without rights may still read.
    #[must_use]
    pub const fn write_exclusive(self) -> bool {
        matches!(
            self,
            Self::WriteExclusive
                | Self::WriteExclusiveRegistrantsOnly
                | Self::WriteExclusiveAllRegistrants
        )
    }
}
