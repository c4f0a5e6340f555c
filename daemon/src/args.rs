//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

use lunforge_daemon::confine::Mode;

use crate::commands;
use crate::generate::Generate;
use crate::limits::LimitArg;
use crate::record::Record;
use crate::secrets::Source;
use crate::size::Size;
use crate::srp::TrySrp;
use crate::timeouts::Timeouts;

/// SCSI targets in user space: files and block devices as disks for other machines.
#[derive(Debug, Parser)]
#[command(
    name = "lunforge",
    version,
    after_help = "Start with one of these:\n  \
      lunforge export disk.img --size 1G    one disk at once, nothing to configure\n  \
      lunforge serve --config scst.conf     many disks and targets, changed while they are in use\n  \
      lunforge status                       what the running `lunforge serve` does\n\n\
      `lunforge COMMAND --help` tells more."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is logged, for the help of commands that serve.
const LOGGED: &str = "LUNFORGE_LOG says what is logged to standard error: info, lunforge_iscsi=debug [default: warn]";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve files or block devices as disks over iSCSI or SRP.
    #[command(after_help = LOGGED)]
    Export(Box<Export>),
    /// Serve what a configuration file says, and let it be changed meanwhile.
    #[command(after_help = LOGGED)]
    Serve(Box<Serve>),
    #[command(flatten)]
    Asking(commands::Command),
    /// Write man pages and the completions of shells.
    #[command(hide = true)]
    Generate(Generate),
    /// Look whether SRP can be had at these addresses.
    #[command(hide = true)]
    TrySrp(TrySrp),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// An object on each line.
    Json,
}

/// Which PDU digests are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DigestArg {
    /// No digests.
    None,
    /// CRC32C only: an initiator that wants none is refused.
    Crc32c,
    /// Whichever the initiator prefers.
    Both,
}

/// What damaged reservations mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DamagedArg {
    /// Nobody reaches the medium.
    Refuse,
    /// There are none; the damaged file is put aside.
    Discard,
}

/// How much the process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfineArg {
    /// As far as the kernel can; what it cannot is said.
    Auto,
    /// Wholly, or nothing is served.
    Require,
    /// Not at all.
    Off,
}

impl From<ConfineArg> for Mode {
    fn from(arg: ConfineArg) -> Self {
        match arg {
            ConfineArg::Auto => Self::Auto,
            ConfineArg::Require => Self::Require,
            ConfineArg::Off => Self::Off,
        }
    }
}

// What every serving process is told. (A comment for rustdoc would become the command's help.)
#[derive(Debug, Args)]
pub(crate) struct Serving {
    /// Folder in which persistent reservations (APTPL), saved mode pages and identifying information outlive a restart.
    ///
    /// It belongs to one process at a time. If it is missing it is made, with access for its owner only.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// What to do when the kept reservations of a LUN are damaged.
    #[arg(
        long,
        value_name = "POLICY",
        value_enum,
        default_value = "refuse",
        requires = "state"
    )]
    pub(crate) damaged_reservations: DamagedArg,

    /// Times of the initiators, in seconds where not named: after BACKEND a command that its backend does not answer is
    /// given up, after HOLD one that waits; both together before the initiator aborts it after ABORT, which fails its
    /// paths after REPLACEMENT.
    #[arg(
        long,
        value_name = "linux|windows|esxi|BACKEND,HOLD,ABORT,REPLACEMENT",
        default_value = "linux"
    )]
    pub(crate) timeouts: Timeouts,

    /// Threads that serve sessions [default: the number of processors].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,

    /// Set a limit; may be given several times. `--limit help` lists all of them with their defaults.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<LimitArg>,

    /// Become this user once ports and files are open, for good; names or numbers. Needs root.
    #[arg(long, value_name = "NAME[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Confine the process by Landlock and seccomp to what serving takes: files given here, connections there are.
    #[arg(long, value_name = "HOW", value_enum, default_value = "auto")]
    pub(crate) confine: ConfineArg,

    /// Allow core dumps and debuggers. A dump holds secrets and data.
    ///
    /// Where kernel.core_pattern names a file, Landlock forbids to make it: --confine off lets it be.
    #[arg(long)]
    pub(crate) core_dumps: bool,

    /// Tell counters and times to whoever asks at this address, in Prometheus' text format: GET /metrics.
    ///
    /// Anybody who reaches the port may read there the names of targets, devices and initiators; GET /healthz says that
    /// the process lives.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// How log lines are written to standard error.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,

    #[command(flatten)]
    pub(crate) record: Record,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Files or block devices; they become LUN 0, 1, and so on.
    #[arg(value_name = "PATH", required_unless_present_any = ["null", "limit"])]
    pub(crate) paths: Vec<PathBuf>,

    /// Create a missing file with this size, sparse (512, 4K, 20M, 1G, 2T; powers of 1024).
    #[arg(long, value_name = "N")]
    pub(crate) size: Option<Size>,

    /// Address and port to listen on; may be given several times [default: 127.0.0.1:3260].
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) portal: Vec<SocketAddr>,

    /// Serve by SRP at this address of an RDMA device, for everybody who reaches it or whom --initiator names; without --portal by SRP alone.
    ///
    /// May be given several times. It needs rdma-core, which is opened at the start.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) srp: Vec<SocketAddr>,

    /// Name of the target [default: iqn.2026-11.org.lunforge: and the name of the first path].
    #[arg(long, value_name = "IQN")]
    pub(crate) target: Option<String>,

    /// Logical block size in bytes.
    #[arg(long, value_name = "N", default_value = "512", value_parser = ["512", "4096"])]
    pub(crate) block_size: String,

    /// Physical block size in bytes, at least the logical one [default: 4096, or the device's].
    #[arg(long, value_name = "N")]
    pub(crate) physical_block_size: Option<Size>,

    /// Each PATH is the image in a CD or DVD drive (an ISO file): read-only, can be ejected and loaded.
    #[arg(long, conflicts_with_all = [
        "size", "block_size", "physical_block_size", "removable", "read_only", "thin", "write_through", "nv_cache",
        "direct", "null",
    ])]
    pub(crate) cdrom: bool,

    /// The medium can be ejected and loaded.
    #[arg(long)]
    pub(crate) removable: bool,

    /// Refuse writes.
    #[arg(long)]
    pub(crate) read_only: bool,

    /// Thin provisioning: UNMAP gives space back.
    #[arg(long)]
    pub(crate) thin: bool,

    /// Answer a write only when it is on the medium.
    #[arg(long, conflicts_with = "read_only")]
    pub(crate) write_through: bool,

    /// The cache of this machine survives a power cut: do not flush. Without such a cache data is lost.
    #[arg(long, conflicts_with = "write_through")]
    pub(crate) nv_cache: bool,

    /// Bypass the page cache, as block devices always do.
    #[arg(long)]
    pub(crate) direct: bool,

    /// Add a LUN of this size without a medium, for measurements: reads give zeros, writes are lost.
    #[arg(long, value_name = "SIZE")]
    pub(crate) null: Vec<Size>,

    /// Demand a name and secret from this file of initiators, also for discovery (CHAP).
    ///
    /// A line is NAME SECRET; the secret is the last word, of 12 to 256 bytes. Empty lines and those that begin with #
    /// are left out. Nobody but its owner (you, root or --user) may have access to the file. fd:N reads the inherited
    /// descriptor N instead. May be given several times.
    #[arg(long, value_name = "FILE|fd:N")]
    pub(crate) chap: Vec<Source>,

    /// Prove ourselves to initiators by the one name and secret in this file (mutual CHAP).
    #[arg(long, value_name = "FILE|fd:N", requires = "chap")]
    pub(crate) mutual_chap: Option<Source>,

    /// Let only the initiator of this name log in and see the target; may be given several times [default: all].
    ///
    /// With --srp the address of an initiator, or its port identifier (0x and 32 digits), is a name of SRP: others see no LUN
    /// there.
    #[arg(long, value_name = "NAME")]
    pub(crate) initiator: Vec<String>,

    /// Header and data digests.
    #[arg(long, value_name = "KIND", value_enum, default_value = "both")]
    pub(crate) digest: DigestArg,

    /// Unit serial number, instead of one made from the path and this machine; with several LUNs, -0, -1, ... is appended.
    #[arg(long, value_name = "S")]
    pub(crate) serial: Option<String>,

    /// Have each command read the clock, so that --metrics tells how long those take that end at once.
    #[arg(long, requires = "metrics")]
    pub(crate) measure_latency: bool,

    #[command(flatten)]
    pub(crate) serving: Serving,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration, in the form of SCST's scst.conf. An empty file is one: `lunforge add` fills it.
    ///
    /// It is applied again on SIGHUP, and `lunforge apply` and `lunforge save` replace it.
    #[arg(long, value_name = "FILE", required_unless_present = "limit")]
    pub(crate) config: Option<PathBuf>,

    /// Address and port to listen on where the configuration names no `portal` of its driver; may be given several times
    /// [default: port 3260 of all addresses].
    ///
    /// This is never saved: a `portal` in the configuration is. Portals are opened when the driver is enabled: ports below 1024 are those of --confine off and root.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) portal: Vec<SocketAddr>,

    /// Where commands find this process [default: /run/lunforge/control.sock for root, for others
    /// lunforge/control.sock in $XDG_RUNTIME_DIR].
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// Let members of this group give commands, too.
    #[arg(long, value_name = "GROUP")]
    pub(crate) control_group: Option<String>,

    /// Let devices be made later from files in this folder, or from this file; may be given several times [default: the
    /// folders of the files in the configuration, and /dev].
    ///
    /// A confined process (see --confine) opens nothing else, and that cannot be changed while it runs: a device
    /// elsewhere is refused until the next start. The folder of the configuration and those of --state and --record are
    /// allowed in any case.
    #[arg(long, value_name = "PATH")]
    pub(crate) allow: Vec<PathBuf>,

    /// Serve nobody: take the configuration and all commands, without disks and ports. For trying them.
    #[arg(long)]
    pub(crate) pretend: bool,

    #[command(flatten)]
    pub(crate) serving: Serving,
}

impl Serve {
    /// The configuration's path.
    ///
    /// # Errors
    /// None is given.
    pub(crate) fn config(&self) -> anyhow::Result<&std::path::Path> {
        self.config.as_deref().context("give --config FILE")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
