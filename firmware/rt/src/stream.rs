//! One TCP socket that is connected again and again, to see whether a port takes connections: for a
//! role that may open none.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, connect as connect_to, getsockopt, sockopt};

/// Begins; the socket is writable when it came to an end, which [`outcome`] tells. What was before
/// is abandoned.
pub fn connect(socket: impl AsFd, to: SocketAddrV4) -> io::Result<()> {
    abandon(&socket);
    match connect_to(socket.as_fd().as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What became of it.
pub fn outcome(socket: impl AsFd) -> io::Result<()> {
    match getsockopt(&socket.as_fd(), sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Ends what it is connected to, at once.
pub fn abandon(socket: impl AsFd) {
    // SAFETY: all fields are integers, for which zeros are a valid value; the family is AF_UNSPEC.
    let nobody: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live struct of at least that length; connect(2) ends the
    // connection for the family AF_UNSPEC and fails harmlessly when there is none.
    unsafe {
        libc::connect(
            socket.as_fd().as_raw_fd(),
            (&raw const nobody).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        );
    }
}
