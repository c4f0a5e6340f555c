//! Serves a disk in memory by SRP over RDMA/CM: `srp ADDRESS:PORT PORT-ID [MIB]`.
//!
//! The port identifier is what initiators give as `id_ext` and `ioc_guid`, 16 digits each. It needs an RDMA device with the
//! address, soft-RoCE for instance, and rdma-core.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

use lunforge::srp::verbs::VerbsListener;
use lunforge::srp::{PortId, SrpTransport};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Engine, Target, Unit};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (address, port, mib) = match &args[..] {
        [address, port] => (address, port, 64),
        [address, port, mib] => (address, port, mib.parse::<u64>()?),
        _ => return Err("usage: srp ADDRESS:PORT PORT-ID [MIB]".into()),
    };
    let port: PortId = port.parse()?;
    let listener = VerbsListener::bind(address.parse()?)?;
    let disk = Vdisk::store(Arc::new(RamStore::new(mib << 20)));
    let disk = disk.serial("srp-example").open()?;
    let target = Target::builder("disk").lun(0, Unit::new(disk)).build()?;
    let engine = Engine::builder().shards(1).start()?;
    let transport = SrpTransport::new()
        .listener(Box::new(listener))
        .port("disk", port);
    let srp = engine.attach(transport, target)?;
    println!("ready");
    io::stdout().flush()?;
    // Until the end of input.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    println!("{:?}", srp.counters());
    for session in srp.sessions_list() {
        println!("{} from {}", session.initiator, session.peer);
    }
    Ok(())
}
