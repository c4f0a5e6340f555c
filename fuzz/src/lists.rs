//! Parameter lists of block commands. Each function takes arbitrary bytes and asserts what holds for any input.

use lunforge_core::asc::Asc;
use lunforge_core::sense::{Sense, SenseKey, SenseSpecific};
use lunforge_core::units::BlockCount;
use lunforge_vdisk::testing::lists;

/// Reads the bytes as an UNMAP parameter list for a unit of 2^20 blocks that takes half of them at a time.
pub fn unmap(list: &[u8]) {
    let (capacity, limit) = (BlockCount(1 << 20), BlockCount(1 << 19));
    match lists::unmap(list, capacity, limit) {
        Err(sense) => refusal(&sense, list),
        Ok(extents) => {
            assert!(list.len() >= 8 + 16 * extents.len() && extents.len() <= 64);
            let mut total = 0;
            for (lba, blocks) in extents {
                assert!(blocks > 0 && lba + blocks <= capacity.0);
                total += blocks;
            }
            assert!(total <= limit.0);
        }
    }
}

/// Byte 0 chooses the command, the header and the block size; the rest is a FORMAT UNIT or SANITIZE OVERWRITE list.
pub fn format_sanitize(bytes: &[u8]) {
    let Some((choice, list)) = bytes.split_first() else {
        return;
    };
    let block = if choice & 4 == 0 { 512 } else { 4096 };
    let pattern = if choice & 1 == 0 {
        lists::format(list, choice & 2 != 0, block).map(|(_, pattern)| pattern)
    } else {
        lists::overwrite(list, block).map(|(count, _, pattern)| {
            assert!((1..32).contains(&count));
            Some(pattern)
        })
    };
    match pattern {
        Err(sense) => refusal(&sense, list),
        Ok(None) => {}
        Ok(Some(pattern)) => {
            assert!((1..=block as usize).contains(&pattern.len()));
            assert!(list.windows(pattern.len()).any(|part| part == pattern));
        }
    }
}

/// A list is only ever refused as ILLEGAL REQUEST, and a field pointer points into it.
fn refusal(sense: &Sense, list: &[u8]) {
    assert_eq!(sense.key, SenseKey::IllegalRequest);
    assert!(
        [
            Asc::PARAMETER_LIST_LENGTH_ERROR,
            Asc::INVALID_FIELD_IN_PARAMETER_LIST,
            Asc::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
        ]
        .contains(&sense.asc)
    );
    match sense.specific {
        SenseSpecific::None => {}
        SenseSpecific::FieldPointer { in_cdb, byte, bit } => {
            assert!(!in_cdb && usize::from(byte) < list.len() && bit.is_none_or(|bit| bit < 8));
        }
        other => panic!("{other:?}"),
    }
}
