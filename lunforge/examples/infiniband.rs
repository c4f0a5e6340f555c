//! Serves a disk in memory by SRP on InfiniBand: `infiniband PORT PORT-ID [--roce]`.
//!
//! Initiators connect to the service id that PORT stands for, and find it out by device management, which the example answers
//! on all InfiniBand ports. The port identifier is what they give as `id_ext` and `ioc_guid`, 16 digits each. It needs
//! rdma-core, the kernel's ib_umad, and the rights of root.
//!
//! With `--roce` it answers on ports of RoCE, too, and goes on without a service id, which only InfiniBand has: so that
//! device management can be tried without InfiniBand.

use std::error::Error;
use std::io::{self, Write};

use lunforge::srp::proto::mad::{IoUnit, Profile};
use lunforge::srp::verbs::{DeviceManagement, MadPorts, ServicePort, VerbsListener};
use lunforge::srp::{PortId, SrpTransport};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Engine, Target, Unit};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (service, port, which) = match &args[..] {
        [service, port] => (service, port, MadPorts::InfiniBand),
        [service, port, roce] if roce == "--roce" => (service, port, MadPorts::All),
        _ => return Err("usage: infiniband PORT PORT-ID [--roce]".into()),
    };
    let service = ServicePort(service.parse()?);
    let port: PortId = port.parse()?;

    let mut transport = SrpTransport::new().port("disk", port);
    match VerbsListener::bind_service(service) {
        Ok(listener) => transport = transport.listener(Box::new(listener)),
        Err(error) if which == MadPorts::All => println!("{error}"),
        Err(error) => return Err(error.into()),
    }
    let profile = Profile::srp(0, "Lunforge");
    let unit = IoUnit::srp([port], service.service_id(), &profile);
    let _told = DeviceManagement::open(which)?.serve(unit)?;

    let disk = Vdisk::store(std::sync::Arc::new(RamStore::new(64 << 20)));
    let disk = disk.serial("srp-example").open()?;
    let target = Target::builder("disk").lun(0, Unit::new(disk)).build()?;
    let engine = Engine::builder().shards(1).start()?;
    let _srp = engine.attach(transport, target)?;
    println!("ready");
    io::stdout().flush()?;
    // Until the end of input.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
