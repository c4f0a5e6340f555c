//! System calls on sockets, each once.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sockopt,
};

use super::link::Moved;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Opens a listening socket; returns it with the address it got. Its connections have a receive buffer of so many bytes,
/// which the kernel cuts to net.core.rmem_max. The kernel by itself starts with so little that the first full command
/// window closes the TCP window, which on a busy machine may take a probe timer to open again; and lets it grow to much
/// more than a session ever has on its way. Zero: the kernel's way.
pub(super) fn listen(
    address: SocketAddr,
    receive_buffer: usize,
) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        // A portal is one address: IPv4 gets its own.
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    // Connections inherit it; set later it would not be in the first window.
    if receive_buffer > 0 {
        sockopt::set_socket_recv_buffer_size(&fd, receive_buffer)?;
    }
    net::bind(&fd, &address)?;
    net::listen(&fd, BACKLOG)?;
    let bound = local(&fd)?;
    Ok((fd, bound))
}

/// Takes over a listening socket.
pub(super) fn adopt(fd: OwnedFd) -> io::Result<(OwnedFd, SocketAddr)> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    let bound = local(&fd)?;
    Ok((fd, bound))
}

/// The next connection, and its peer.
pub(super) fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, peer) = net::acceptfrom_with(listener, flags)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    sockopt::set_socket_keepalive(&fd, true)?;
    let peer = peer
        .and_then(|peer| peer.try_into().ok())
        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    Ok((fd, peer))
}

/// The address of our end.
pub(super) fn local(fd: impl AsFd) -> io::Result<SocketAddr> {
    SocketAddr::try_from(net::getsockname(fd)?).map_err(|_| io::Error::from(Errno::AFNOSUPPORT))
}

fn moved(result: Result<usize, Errno>) -> Moved {
    match result {
        Ok(0) => Moved::Gone,
        Ok(n) => Moved::Bytes(n),
        Err(Errno::AGAIN | Errno::INTR) => Moved::WouldBlock,
        Err(_) => Moved::Gone,
    }
}

/// Reads into several buffers.
pub(super) fn receive(fd: impl AsFd, into: &mut [IoSliceMut<'_>]) -> Moved {
    moved(rustix::io::readv(fd, into))
}

/// Writes several buffers, never raising SIGPIPE. Nothing to write counts as blocked.
pub(super) fn send(fd: impl AsFd, from: &[IoSlice<'_>]) -> Moved {
    let sent = net::sendmsg(
        fd,
        from,
        &mut SendAncillaryBuffer::default(),
        SendFlags::NOSIGNAL,
    );
    moved(sent)
}
