//! What an export will do, checked before anything is created or changed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use lunforge::core::designator::stable_hash;
use lunforge::iscsi::{Access, AuthConfig, DigestChoice, TargetParams};
use lunforge_daemon::confine::{self, Mode, Reach, User};

use crate::args::{DigestArg, Export, Serving};
use crate::limits::Limits;
use crate::secrets;
use crate::size::Size;
use crate::srp::{self, Srp};
use crate::state::State;

/// A LUN to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lun {
    pub(crate) medium: Medium,
    pub(crate) serial: String,
}

/// What holds a LUN's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A file that exists.
    File { path: PathBuf, size: Size },
    /// A file that is to be created.
    NewFile { path: PathBuf, size: Size },
    /// A block device.
    Block { path: PathBuf },
    /// The image in a CD drive.
    Image { path: PathBuf },
    /// Nothing.
    Null { size: Size },
}

impl Medium {
    /// The handler's name and the path, for whoever reads of it.
    pub(crate) fn told(&self) -> (&'static str, Option<String>) {
        match self {
            Self::File { path, .. } | Self::NewFile { path, .. } => {
                ("vdisk_fileio", Some(path.display().to_string()))
            }
            Self::Block { path } => ("vdisk_blockio", Some(path.display().to_string())),
            Self::Image { path } => ("vcdrom", Some(path.display().to_string())),
            Self::Null { .. } => ("vdisk_nullio", None),
        }
    }
}

/// All of an export.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) target: String,
    /// None, where it is served by SRP alone.
    pub(crate) portals: Vec<SocketAddr>,
    pub(crate) srp: Option<Srp>,
    pub(crate) luns: Vec<Lun>,
    pub(crate) block_size: u32,
    pub(crate) physical_block_size: Option<u32>,
    pub(crate) params: TargetParams,
    pub(crate) auth: AuthConfig,
    pub(crate) access: Access,
    pub(crate) state: Option<State>,
    pub(crate) user: Option<User>,
    pub(crate) confine: Mode,
    pub(crate) limits: Limits,
}

impl Plan {
    /// Checks the arguments against the file system. Changes nothing.
    pub(crate) fn new(args: &Export) -> anyhow::Result<Self> {
        let block_size: u32 = args
            .block_size
            .parse()
            .context("the block size is no number")?;
        let physical_block_size = args
            .physical_block_size
            .map(|n| physical(n, block_size))
            .transpose()?;
        let media = args
            .paths
            .iter()
            .map(|path| medium(path, args))
            .chain(args.null.iter().map(|&size| Ok(Medium::Null { size })))
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!media.is_empty(), "give a PATH, or --null");
        media
            .iter()
            .try_for_each(|medium| whole_blocks(medium, block_size))?;
        twice(&args.paths)?;
        let target = target_name(args)?;
        let user = args.serving.find_user()?;
        let alone = media.len() == 1;
        let serial = |lun: usize, medium: &Medium| match &args.serial {
            Some(given) if alone => given.clone(),
            Some(given) => format!("{given}-{lun}"),
            None => own_serial(&target, lun, medium),
        };
        let luns = media
            .into_iter()
            .enumerate()
            .map(|(lun, medium)| Lun {
                serial: serial(lun, &medium),
                medium,
            })
            .collect();
        Ok(Self {
            portals: portals(args)?,
            srp: Srp::new(args, &target)?,
            target,
            luns,
            block_size,
            physical_block_size,
            limits: Limits::new(&args.serving.limit)?,
            params: params(args.digest)?,
            auth: auth(args, user.as_ref())?,
            access: access(args)?,
            state: State::new(&args.serving, user.as_ref())?,
            user,
            confine: confinement(&args.serving)?,
        })
    }
}

impl Plan {
    /// The files that may be opened while serving.
    pub(crate) fn reach(&self, args: &Export) -> Reach {
        let mut reach = Reach::default();
        for lun in &self.luns {
            match &lun.medium {
                Medium::File { path, .. }
                | Medium::NewFile { path, .. }
                | Medium::Block { path } => {
                    reach.file(path, !args.read_only);
                }
                Medium::Image { path } => reach.file(path, false),
                Medium::Null { .. } => {}
            }
        }
        if let Some(state) = &self.state {
            reach.folder(state.folder());
        }
        if let Some(folder) = &args.serving.record.record {
            reach.folder(folder);
        }
        if self.srp.is_some() {
            reach.rdma();
        }
        reach
    }
}

/// A serial number made from this machine and what holds the data: the same after a restart, another one for every
/// other disk anywhere. Two machines that serve one disk have to be told its serial number.
fn own_serial(target: &str, lun: usize, medium: &Medium) -> String {
    let what = match medium {
        Medium::File { path, .. }
        | Medium::NewFile { path, .. }
        | Medium::Block { path }
        | Medium::Image { path } => absolute(path),
        Medium::Null { .. } => format!("{target} {lun}").into(),
    };
    let mut name = machine().into_bytes();
    name.push(0);
    name.extend_from_slice(what.as_os_str().as_encoded_bytes());
    format!("{:016x}", stable_hash(&name))
}

/// What this machine calls itself, for names that no other machine makes.
pub(crate) fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    id.trim().to_owned()
}

/// The path without links, also of a file that is still to be created.
fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| {
        let parent = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let parent = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        path.file_name()
            .map_or(parent.clone(), |name| parent.join(name))
    })
}

fn physical(size: Size, block_size: u32) -> anyhow::Result<u32> {
    let bytes = u32::try_from(size.0)
        .ok()
        .filter(|n| n.is_power_of_two() && (block_size..=65_536).contains(n));
    bytes.with_context(|| {
        format!("the physical block size must be a power of two from {block_size} to 65536")
    })
}

fn medium(path: &Path, args: &Export) -> anyhow::Result<Medium> {
    let shown = path.display();
    let path = path.to_owned();
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return new_file(path, args),
        Err(error) => bail!("cannot use {shown}: {error}"),
    };
    let kind = metadata.file_type();
    if args.cdrom && (kind.is_block_device() || kind.is_file()) {
        return Ok(Medium::Image { path });
    }
    if kind.is_block_device() {
        ensure!(
            args.size.is_none() || args.paths.len() > 1,
            "{shown} is a block device: its size cannot be given"
        );
        return Ok(Medium::Block { path });
    }
    ensure!(
        kind.is_file(),
        "{shown} is neither a file nor a block device"
    );
    ensure!(
        metadata.len() > 0,
        "{shown} is empty: remove it to have it created with --size"
    );
    let size = Size(metadata.len());
    match args.size {
        Some(asked) if asked != size => {
            bail!("{shown} exists and has {size}, not {asked}: leave --size away to use it")
        }
        _ => Ok(Medium::File { path, size }),
    }
}

fn new_file(path: PathBuf, args: &Export) -> anyhow::Result<Medium> {
    let shown = path.display();
    ensure!(!args.cdrom, "{shown} does not exist");
    let Some(size) = args.size else {
        bail!("{shown} does not exist: give --size to have it created")
    };
    ensure!(
        !args.read_only,
        "{shown} does not exist, and a read-only disk cannot be created"
    );
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    ensure!(
        parent.is_dir(),
        "{shown} cannot be created: there is no folder {}",
        parent.display()
    );
    ensure!(!path.is_symlink(), "{shown} is a link that leads nowhere");
    Ok(Medium::NewFile { path, size })
}

fn whole_blocks(medium: &Medium, block_size: u32) -> anyhow::Result<()> {
    let (name, size) = match medium {
        Medium::File { path, size } | Medium::NewFile { path, size } => {
            (path.display().to_string(), size)
        }
        Medium::Null { size } => ("the null disk".to_owned(), size),
        Medium::Block { .. } | Medium::Image { .. } => return Ok(()),
    };
    ensure!(
        size.0 % u64::from(block_size) == 0,
        "the size of {name}, {} bytes, is no multiple of {block_size}",
        size.0
    );
    Ok(())
}

fn twice(paths: &[PathBuf]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for path in paths {
        ensure!(
            seen.insert(absolute(path)),
            "{} is given twice",
            path.display()
        );
    }
    Ok(())
}

/// An iSCSI name (RFC 7143 4.2.7.2): given, or made from the first path.
fn target_name(args: &Export) -> anyhow::Result<String> {
    let Some(name) = &args.target else {
        let stem = args
            .paths
            .first()
            .and_then(|p| p.file_stem())
            .map_or("null".into(), |s| s.to_string_lossy());
        let plain: String = stem
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(64)
            .collect();
        return Ok(format!("iqn.2026-11.org.lunforge:{plain}"));
    };
    let allowed = |c: char| c.is_alphanumeric() && !c.is_ascii_uppercase() || "-.:_".contains(c);
    let form = ["iqn.", "eui.", "naa."].iter().any(|p| name.starts_with(p)) && name.len() <= 223;
    ensure!(
        form && name.chars().all(allowed),
        "{name:?} is no iSCSI name: it starts with iqn., eui. or naa., is in lower case, and has at most 223 bytes"
    );
    Ok(name.clone())
}

fn portals(args: &Export) -> anyhow::Result<Vec<SocketAddr>> {
    let mut portals = args.portal.clone();
    if portals.is_empty() && args.srp.is_empty() {
        portals.push(SocketAddr::from(([127, 0, 0, 1], 3260)));
    }
    for (i, portal) in portals.iter().enumerate() {
        ensure!(
            portal.port() == 0 || !portals[..i].contains(portal),
            "the portal {portal} is given twice"
        );
    }
    Ok(portals)
}

fn params(digest: DigestArg) -> anyhow::Result<TargetParams> {
    let mut params = TargetParams::default();
    let choice = match digest {
        DigestArg::None => DigestChoice::NONE,
        DigestArg::Crc32c => DigestChoice::CRC32C,
        DigestArg::Both => DigestChoice::ANY,
    };
    params.header_digest = choice;
    params.data_digest = choice;
    params.validate()?;
    Ok(params)
}

fn auth(args: &Export, user: Option<&User>) -> anyhow::Result<AuthConfig> {
    if args.chap.is_empty() {
        return Ok(AuthConfig::None);
    }
    Ok(AuthConfig::Chap(
        secrets::chap(&args.chap, args.mutual_chap.as_ref(), user)?.into(),
    ))
}

/// What is required has to be possible before anything is created.
pub(crate) fn confinement(serving: &Serving) -> anyhow::Result<Mode> {
    let mode = serving.confine.into();
    if mode == Mode::Require {
        confine::check_support()?;
    }
    Ok(mode)
}

fn access(args: &Export) -> anyhow::Result<Access> {
    if args.initiator.is_empty() {
        return Ok(Access::everybody());
    }
    let of_srp = |name: &String| !args.srp.is_empty() && srp::names(name).next().is_some();
    let all = args.initiator.iter().filter(|name| !of_srp(name));
    let all: Vec<_> = all.cloned().collect();
    let alone = !args.srp.is_empty() && args.portal.is_empty();
    ensure!(
        alone == all.is_empty(),
        if alone {
            "--initiator: by SRP initiators are known by an address or a port identifier"
        } else {
            "--initiator: name an initiator of iSCSI, too: --portal serves those"
        }
    );
    if alone {
        return Ok(Access::everybody());
    }
    Ok(Access::only(&all)?)
}

#[cfg(test)]
mod tests;
