//! One disk behind two target ports, each a target port group of its own, with access states that can be changed from
//! standard input.
//!
//! `cargo run --example two_ports -- disk.img 127.0.0.1:3260 127.0.0.1:3261 --pr-file disk.reservations`, with an image
//! that exists. Beside the file for reservations lies one for saved parameters. It prints `ready`, then answers each line
//! with `ok` or `error: ...`:
//!
//! ```text
//! state GROUP STATE    active, nonoptimized, standby, unavailable, offline, transitioning
//! prefer GROUP 0|1     PREF of REPORT TARGET PORT GROUPS
//! explicit on|off      whether initiators may send SET TARGET PORT GROUPS
//! quit
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use lunforge::alua::{AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::pr::{FileStore, OnDamage, Reservations};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, Target, Unit};

/// What is served; dropping it ends that.
pub(crate) struct TwoPorts {
    group: DeviceGroup,
    access: Arc<AsymmetricAccess>,
    pub(crate) ports: [IscsiAttachment; 2],
    _engine: Engine,
}

pub(crate) fn serve(
    image: &str,
    portals: [&str; 2],
    pr_file: Option<&Path>,
) -> Result<TwoPorts, Box<dyn Error>> {
    let mut disk = Vdisk::file(image).thin(true).serial("two-ports-1");
    let reservations = match pr_file {
        Some(path) => {
            disk = disk.parameters_file(path.with_extension("parameters"));
            Reservations::open(FileStore::new(path)?, OnDamage::RefuseMediumAccess)
        }
        None => Reservations::volatile(),
    };
    let disk = disk.open()?;
    let access = AsymmetricAccess::new();
    let unit = Unit::new(disk)
        .service(access.clone())
        .reservations(reservations)
        .build();
    let target = |letter: char, port| {
        Target::builder(format!("iqn.2026-11.org.example:{letter}"))
            .relative_port(port)
            .lun(0, Arc::clone(&unit))
            .build()
    };
    let (a, b) = (target('a', 1)?, target('b', 2)?);

    let group = DeviceGroup::new("two-ports");
    for id in [1, 2] {
        group.add_target_port_group(TargetPortGroup::new(id).with(TargetPort::Local(id)))?;
    }
    group.add_unit(&access)?;

    let engine = Engine::builder().shards(2).start()?;
    let ports = [
        engine.attach(IscsiTransport::bind(portals[0])?, a)?,
        engine.attach(IscsiTransport::bind(portals[1])?, b)?,
    ];
    Ok(TwoPorts {
        group,
        access,
        ports,
        _engine: engine,
    })
}

impl TwoPorts {
    /// Carries out one line.
    pub(crate) fn command(&self, line: &str) -> Result<(), Box<dyn Error>> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["state", group, state] => self.group.set_state(group.parse()?, state.parse()?)?,
            ["prefer", group, on @ ("0" | "1")] => {
                self.group.set_preferred(group.parse()?, on == "1")?;
            }
            ["explicit", on @ ("on" | "off")] => self.access.explicit(on == "on"),
            _ => {
                return Err("state GROUP STATE | prefer GROUP 0|1 | explicit on|off | quit".into());
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (image, portals, pr_file) = match args[..] {
        [image, first, second] => (image, [first, second], None),
        [image, first, second, "--pr-file", file] | ["--pr-file", file, image, first, second] => {
            (image, [first, second], Some(Path::new(file)))
        }
        _ => return Err("usage: two_ports IMAGE PORTAL1 PORTAL2 [--pr-file FILE]".into()),
    };
    let served = serve(image, portals, pr_file)?;
    let portals = served.ports.each_ref().map(IscsiAttachment::portals);
    eprintln!("serving {image} on {portals:?}");
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in io::stdin().lines() {
        let line = line?;
        let quit = line.trim() == "quit";
        match if quit { Ok(()) } else { served.command(&line) } {
            Ok(()) => writeln!(out, "ok")?,
            Err(error) => writeln!(out, "error: {error}")?,
        }
        out.flush()?;
        if quit {
            break;
        }
    }
    Ok(())
}
