//! What `lunforge serve` may open while it serves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lunforge_daemon::confine::Reach;
use lunforge_daemon::control::{ConfigFile, Endpoint};
use lunforge_daemon::manage::Model;
use lunforge_daemon::tree::Kind;

use crate::args::Serve;
use crate::state::State;

/// The port of iSCSI (RFC 7143 4.2.7.1).
const ISCSI_PORT: u16 = 3260;

/// All of it.
pub(crate) fn reach(
    args: &Serve,
    model: &Model,
    endpoint: &Endpoint,
    state: Option<&State>,
) -> anyhow::Result<Reach> {
    let mut reach = Reach::default();
    reach.changes();
    let control = endpoint
        .path()
        .parent()
        .filter(|p| !p.as_os_str().is_empty());
    reach.folder(control.unwrap_or(Path::new(".")));
    reach.folder(ConfigFile::new(args.config()?).folder()?);
    if let Some(state) = state {
        reach.folder(state.folder());
    }
    if let Some(folder) = &args.serving.record.record {
        reach.folder(folder);
    }
    for folder in reservation_folders(model) {
        reach.folder(folder);
    }
    for place in places(args, model) {
        reach.place(place);
    }
    for port in ports(args, model)? {
        reach.port(port);
    }
    Ok(reach)
}

/// Where files of devices may be.
fn places(args: &Serve, model: &Model) -> Vec<PathBuf> {
    if !args.allow.is_empty() {
        return args.allow.clone();
    }
    let files = model
        .tree()
        .root()
        .of(Kind::Device)
        .filter_map(|(_, device)| {
            let file = Path::new(device.first("filename")?);
            // Where a link leads: that is what is opened.
            let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
            Some(file.parent()?.to_owned())
        });
    let mut places: Vec<_> = files.chain([PathBuf::from("/dev")]).collect();
    places.retain(|place| place.is_dir());
    places.sort();
    places.dedup();
    places
}

/// Where devices keep reservations that do not keep them in the state.
fn reservation_folders(model: &Model) -> BTreeSet<PathBuf> {
    let devices = model.tree().root().of(Kind::Device);
    let files = devices.filter_map(|(_, device)| device.first("pr_file_name"));
    // Those of SCST are not touched.
    let files = files.filter(|file| !file.starts_with("/var/lib/scst/"));
    let folders = files.filter_map(|file| Some(Path::new(file).parent()?.to_owned()));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Where initiators may come to: what the configuration and the command line say, and the port of iSCSI.
fn ports(args: &Serve, model: &Model) -> anyhow::Result<BTreeSet<u16>> {
    let driver = "targets/iscsi".parse()?;
    let portals = model
        .tree()
        .get(&driver)
        .and_then(|driver| driver.attributes.get("portal"));
    let portals = portals.into_iter().flatten();
    let port = |portal: &String| {
        portal
            .parse::<SocketAddr>()
            .ok()
            .map(|portal| portal.port())
    };
    let given = args.portal.iter().map(SocketAddr::port);
    Ok(portals
        .filter_map(port)
        .chain(given)
        .chain([ISCSI_PORT])
        .collect())
}
