//! A disk with a volatile write cache over a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::random::Random;

/// Bytes that a disk keeps or loses as one.
pub(crate) const SECTOR: usize = 512;
/// One write in so many is put on the medium at once, and before one in so many a sector of an older one.
const UNASKED: u64 = 4;

/// A disk: the medium, and what was written and not yet put on it.
#[derive(Debug)]
pub struct VolatileDisk {
    medium: File,
    size: u64,
    unflushed: BTreeMap<u64, [u8; SECTOR]>,
    random: Random,
}

impl VolatileDisk {
    /// A disk as long as its medium.
    ///
    /// # Errors
    /// A length that is no whole number of sectors, or that cannot be read.
    pub fn new(medium: File, seed: u64) -> io::Result<Self> {
        let size = medium.metadata()?.len();
        if size == 0 || !size.is_multiple_of(SECTOR as u64) {
            return Err(invalid());
        }
        Ok(Self {
            medium,
            size,
            unflushed: BTreeMap::new(),
            random: Random::new(seed),
        })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Sectors that a power cut would lose.
    pub fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    fn first_sector(&self, offset: u64, len: usize) -> io::Result<u64> {
        let end = offset.checked_add(len as u64);
        let inside = end.is_some_and(|end| end <= self.size);
        let whole = offset.is_multiple_of(SECTOR as u64) && len.is_multiple_of(SECTOR);
        if inside && whole {
            Ok(offset / SECTOR as u64)
        } else {
            Err(invalid())
        }
    }

    /// What was written last, in the cache or not.
    ///
    /// # Errors
    /// No whole sectors of this disk; the medium.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let first = self.first_sector(offset, data.len())?;
        self.medium.read_exact_at(data, offset)?;
        let (sectors, _) = data.as_chunks_mut::<SECTOR>();
        let end = first + sectors.len() as u64;
        for (sector, cached) in self.unflushed.range(first..end) {
            let at = usize::try_from(sector - first).unwrap_or(usize::MAX);
            if let Some(sector) = sectors.get_mut(at) {
                *sector = *cached;
            }
        }
        Ok(())
    }

    /// Into the cache; with `fua`, onto the medium.
    ///
    /// # Errors
    /// No whole sectors of this disk; the medium.
    pub fn write(&mut self, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        let first = self.first_sector(offset, data.len())?;
        self.destage_an_old_one()?;
        let (sectors, _) = data.as_chunks::<SECTOR>();
        if fua || self.random.below(UNASKED) == 0 {
            self.medium.write_all_at(data, offset)?;
            for sector in (first..).take(sectors.len()) {
                self.unflushed.remove(&sector);
            }
        } else {
            self.unflushed
                .extend((first..).zip(sectors.iter().copied()));
        }
        Ok(())
    }

    /// Empties the cache onto the medium.
    ///
    /// # Errors
    /// The medium; what is on it already stays out of the cache.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some((&sector, data)) = self.unflushed.first_key_value() {
            self.medium.write_all_at(data, sector * SECTOR as u64)?;
            self.unflushed.pop_first();
        }
        Ok(())
    }

    /// A disk may write back what it likes, when it likes.
    fn destage_an_old_one(&mut self) -> io::Result<()> {
        if self.random.below(UNASKED) != 0 {
            return Ok(());
        }
        let from = self.random.below(self.size / SECTOR as u64);
        let old = self.unflushed.range(from..).next().map(|(s, d)| (*s, *d));
        if let Some((sector, data)) = old {
            self.medium.write_all_at(&data, sector * SECTOR as u64)?;
            self.unflushed.remove(&sector);
        }
        Ok(())
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no whole sectors of the disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: u64 = 64;

    fn disk(name: &str, seed: u64) -> (VolatileDisk, File) {
        let path =
            std::env::temp_dir().join(format!("lunforge-disk-{name}-{}", std::process::id()));
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(SECTORS * SECTOR as u64).unwrap();
        let medium = file.try_clone().unwrap();
        (VolatileDisk::new(file, seed).unwrap(), medium)
    }

    fn sector(medium: &File, number: u64) -> u8 {
        let mut byte = [0];
        medium
            .read_exact_at(&mut byte, number * SECTOR as u64)
            .unwrap();
        byte[0]
    }

    #[test]
    fn n54_what_is_neither_flushed_nor_fua_may_be_lost_and_is_read_all_the_same() {
        let (mut disk, medium) = disk("lost", 1);
        for n in 0..SECTORS {
            disk.write(n * SECTOR as u64, &[7; SECTOR], false).unwrap();
        }
        let on_medium = (0..SECTORS).filter(|n| sector(&medium, *n) == 7).count();
        assert_eq!(on_medium, SECTORS as usize - disk.unflushed());
        assert!(on_medium > 0 && disk.unflushed() > 0, "{on_medium}");
        let mut all = vec![0; SECTORS as usize * SECTOR];
        disk.read(0, &mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn n54_flush_and_fua_put_data_on_the_medium_and_fua_only_its_own() {
        let (mut disk, medium) = disk("flush", 2);
        for n in 0..SECTORS {
            disk.write(n * SECTOR as u64, &[7; SECTOR], false).unwrap();
        }
        let before = disk.unflushed();
        let victim = (0..SECTORS).find(|n| sector(&medium, *n) == 0).unwrap();
        disk.write(victim * SECTOR as u64, &[9; SECTOR], true)
            .unwrap();
        assert_eq!(sector(&medium, victim), 9);
        // Its own, and perhaps one more of the disk's own accord.
        assert!(disk.unflushed() + 2 >= before);
        disk.flush().unwrap();
        assert_eq!(disk.unflushed(), 0);
        assert_eq!(sector(&medium, victim), 9, "the older write is not revived");
        assert!((0..SECTORS).all(|n| sector(&medium, n) >= 7));
    }

    #[test]
    fn parts_of_sectors_and_what_is_beyond_the_end_are_refused() {
        let (mut disk, _) = disk("bounds", 3);
        assert!(disk.write(1, &[0; SECTOR], false).is_err());
        assert!(disk.write(0, &[0; 100], false).is_err());
        assert!(
            disk.write((SECTORS - 1) * SECTOR as u64, &[0; 1024], false)
                .is_err()
        );
        assert!(disk.read(u64::MAX - 511, &mut [0; SECTOR]).is_err());
    }
}
