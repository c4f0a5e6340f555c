//! The whole of an embedding: a file becomes a disk on the network.
//!
//! `cargo run --example embed -- disk.img 127.0.0.1:3260`, with a file that exists.

use std::error::Error;

use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, Target, Unit};

pub(crate) fn serve(path: &str, portal: &str) -> Result<(Engine, IscsiAttachment), Box<dyn Error>> {
    let disk = Vdisk::file(path).write_through(true).open()?;
    let target = Target::builder("iqn.2026-11.org.example:disk")
        .lun(0, Unit::new(disk))
        .build()?;
    let engine = Engine::builder().shards(2).start()?;
    let iscsi = engine.attach(IscsiTransport::bind(portal)?, target)?;
    Ok((engine, iscsi))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(portal)) = (args.next(), args.next()) else {
        return Err("usage: embed FILE ADDRESS:PORT".into());
    };
    let (_engine, iscsi) = serve(&path, &portal)?;
    println!("serving {path} on {:?}; Enter stops", iscsi.portals());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
