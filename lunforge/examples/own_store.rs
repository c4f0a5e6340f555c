//! A disk over a store of your own: here memory that counts what is written to it.
//!
//! `cargo run --example own_store -- 127.0.0.1:3260`

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::vdisk::{SimpleAdapter, SimpleStore, Vdisk};
use lunforge::{Engine, Target};

/// Sixteen MiB that are gone when the program ends.
struct Counted {
    bytes: std::sync::RwLock<Vec<u8>>,
    written: Arc<AtomicU64>,
}

impl SimpleStore for Counted {
    fn size(&self) -> u64 {
        16 << 20
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.read().map_err(|_| io::ErrorKind::Other)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        buf.copy_from_slice(
            bytes
                .get(start..start + buf.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?,
        );
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().map_err(|_| io::ErrorKind::Other)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        bytes
            .get_mut(start..start + buf.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(buf);
        self.written.fetch_add(buf.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn blocking(&self) -> bool {
        false
    }
}

/// What `serve` gives: dropping the engine stops it; the counter tells what was written.
pub(crate) type Served = (Engine, IscsiAttachment, Arc<AtomicU64>);

pub(crate) fn serve(portal: &str) -> Result<Served, Box<dyn Error>> {
    let written = Arc::new(AtomicU64::new(0));
    let store = Counted {
        bytes: vec![0; 16 << 20].into(),
        written: Arc::clone(&written),
    };
    let disk = Vdisk::store(Arc::new(SimpleAdapter::new(store, 1)))
        .serial("counted-1")
        .open()?;
    let target = Target::builder("iqn.2026-11.org.example:counted")
        .lun(0, disk)
        .build()?;
    let engine = Engine::builder().start()?;
    let iscsi = engine.attach(IscsiTransport::bind(portal)?, target)?;
    Ok((engine, iscsi, written))
}

fn main() -> Result<(), Box<dyn Error>> {
    let portal = std::env::args()
        .nth(1)
        .ok_or("usage: own_store ADDRESS:PORT")?;
    let (_engine, iscsi, written) = serve(&portal)?;
    println!("serving on {:?}; Enter stops", iscsi.portals());
    io::stdin().read_line(&mut String::new())?;
    println!("{} bytes were written", written.load(Ordering::Relaxed));
    Ok(())
}
