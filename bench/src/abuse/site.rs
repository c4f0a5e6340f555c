//! The target under attack, and ways to it: many source addresses, many initiator ports.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::rng::Rng;
use super::{AbuseError, AbuseOptions};
use crate::initiator::{Connection, Error, Initiator, Negotiated, Options, Sequence, Url};
use crate::load::pattern::Pattern;

/// Longest wait for a connection and for one answer: a target under attack may be slow, not silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Source addresses used in turn: each has some 28 000 ports.
const SOURCES: u32 = 16;
/// Ports of one initiator: targets limit the sessions of a name.
const PORTS: u32 = 64;
/// Bytes at the start of the unit that belong to the good session.
pub(crate) const GOOD_BYTES: u64 = 8 << 20;

/// Where the attacks go.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) url: Url,
    address: SocketAddr,
    login: Options,
    /// Differs between runs.
    pub(crate) seed: u32,
    pub(crate) hold: Duration,
    pub(crate) block_len: u32,
    pub(crate) blocks: u64,
}

impl Site {
    pub(crate) fn new(options: &AbuseOptions) -> Result<Self, AbuseError> {
        let url = options.url.clone();
        let address = loopback(&url)?;
        let mut login = options.login.clone();
        login.timeout = PATIENCE;
        // Scenarios send raw bytes; those about digests ask for them by themselves.
        (login.header_digest, login.data_digest) = (false, false);
        let seed = RandomState::new().hash_one(std::process::id()) as u32 & 0x7fff_ffff;
        let mut site = Self {
            url,
            address,
            login,
            seed,
            hold: options.hold,
            block_len: 0,
            blocks: 0,
        };
        let mut session = site.session(u32::MAX)?;
        (site.blocks, site.block_len) = session.capacity(site.url.lun)?;
        session.logout()?;
        if site.block_len == 0 || site.bytes() < 8 * GOOD_BYTES {
            let text = "the logical unit is smaller than 64 MiB".to_owned();
            return Err(AbuseError::Argument(text));
        }
        Ok(site)
    }

    fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_len.into())
    }

    /// First block that the attacks may use.
    pub(crate) fn first(&self) -> u64 {
        GOOD_BYTES / u64::from(self.block_len.max(1))
    }

    pub(crate) fn pattern(&self) -> Pattern {
        Pattern {
            seed: self.seed,
            block: self.block_len,
        }
    }

    pub(crate) fn rng(&self, salt: u64) -> Rng {
        Rng::new(u64::from(self.seed) << 20 ^ salt)
    }

    /// A connection from the source address that is this number's turn.
    pub(crate) fn stream(&self, number: u32) -> Result<TcpStream, Error> {
        self.connect(number).map_err(|source| Error::Connect {
            address: self.address.to_string(),
            source,
        })
    }

    fn connect(&self, number: u32) -> std::io::Result<TcpStream> {
        if !self.address.is_ipv4() {
            return TcpStream::connect_timeout(&self.address, PATIENCE);
        }
        let flags = SocketFlags::CLOEXEC;
        let fd = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // On Linux the time for sending bounds connect, too.
        sockopt::set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
        let host = Ipv4Addr::from(0x7f00_0002 + number % SOURCES);
        net::bind(&fd, &SocketAddrV4::new(host, 0))?;
        net::connect(&fd, &self.address)?;
        Ok(fd.into())
    }

    /// A connection before its login.
    pub(crate) fn connection(&self, number: u32) -> Result<Connection, Error> {
        Connection::from_stream(self.stream(number)?, PATIENCE)
    }

    /// What an initiator port of this number logs in with. Some ports are of one initiator.
    pub(crate) fn login(&self, number: u32) -> Options {
        let mut login = self
            .login
            .clone()
            .isid_number(self.seed.wrapping_add(number));
        login.initiator_name += &format!(".{}", number / PORTS);
        login
    }

    /// A session of the initiator port of this number, without unit attentions.
    pub(crate) fn session(&self, number: u32) -> Result<Initiator, Error> {
        let mut session = self.session_with(number, &self.login(number))?;
        session.ready(self.url.lun, 8)?;
        Ok(session)
    }

    /// A session with these options, as login left it.
    pub(crate) fn session_with(&self, number: u32, login: &Options) -> Result<Initiator, Error> {
        Initiator::open(self.connection(number)?, Some(&self.url.iqn), login)
    }

    /// Whether a new initiator can log in and have a command done.
    pub(crate) fn serves(&self, number: u32) -> Result<(), Error> {
        self.session(number)?.logout().map(drop)
    }
}

fn loopback(url: &Url) -> Result<SocketAddr, AbuseError> {
    let bad = |text: String| AbuseError::Argument(text);
    let address = url
        .address()
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| bad(format!("{} has no address", url.host)))?;
    if !address.ip().is_loopback() {
        return Err(bad(format!(
            "{address} is not on the loopback: not attacked"
        )));
    }
    Ok(address)
}

/// Ends a connection by RST: nothing lingers on either side.
pub(crate) fn reset(stream: &TcpStream) {
    // Where it cannot be set the connection ends by FIN, which is as good a test.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// A session laid aside: no more memory than its socket and its numbers.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) stream: TcpStream,
    early: Vec<u8>,
    params: Negotiated,
    sequence: Sequence,
}

impl Parked {
    pub(crate) fn new(session: Initiator) -> Self {
        let (connection, mut params, sequence) = session.into_connection();
        params.keys = Vec::new();
        let (stream, mut early) = connection.into_parts();
        early.shrink_to_fit();
        Self {
            stream,
            early,
            params,
            sequence,
        }
    }

    /// The session, to be used again.
    pub(crate) fn resume(self) -> Result<Initiator, Error> {
        let connection = Connection::from_stream(self.stream, PATIENCE)?.with_received(self.early);
        Ok(Initiator::resume(connection, self.params, self.sequence))
    }
}

/// Makes room for so many descriptors of this process.
pub(crate) fn make_room(descriptors: u64) -> Result<(), AbuseError> {
    let wanted = descriptors + 200;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|n| n >= wanted) {
        return Ok(());
    }
    let maximum = now.maximum.map(|n| n.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|e| {
        let text = format!("{wanted} descriptors are more than this process may have: {e}");
        AbuseError::Argument(text)
    })
}
