//! The socket that all requests leave by: which reply is whose, and when a request really left.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use lintel_proto::ntp::UnixNs;
use lintel_proto::ntp::client::{AssociationId, Input};
use lintel_rt::datagrams::{Batch, Meta, departure, send_one};
use lintel_rt::wall::WallClock;
use lintel_wire::ntp::{DATAGRAM_LEN_MAX, HEADER_LEN};

/// Octets of a frame that comes back with its stamp: the request and the headers before it. The
/// longest of ours is a question for a name.
const FRAME_LEN_MAX: usize = 512;
/// Longest reply that is handed on whole: a header, and a MAC or a few extension fields; what is
/// longer is cut, and is none that we asked for.
const REPLY_LEN_MAX: usize = 256;

/// The way out.
pub(super) struct Outside {
    socket: OwnedFd,
    batch: Batch,
    /// Whom each association asks, and the random number of its last request.
    asked: BTreeMap<AssociationId, (SocketAddr, [u8; 8])>,
}

/// A datagram that may be a reply.
pub(super) struct Heard {
    association: AssociationId,
    from: SocketAddr,
    local: IpAddr,
    octets: [u8; REPLY_LEN_MAX],
    len: usize,
    received: UnixNs,
}

/// What the kernel says of what left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// Nothing more.
    None,
    /// Something left that is no request, or one that was repeated since.
    Other,
    /// The last request of an association left at this time.
    Request {
        association: AssociationId,
        at: UnixNs,
    },
}

impl Outside {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            batch: Batch::new(DATAGRAM_LEN_MAX),
            asked: BTreeMap::new(),
        }
    }

    /// Sends a request of an association.
    pub(super) fn ask(
        &mut self,
        association: AssociationId,
        to: SocketAddr,
        mut octets: [u8; HEADER_LEN],
    ) {
        if let Some(nonce) = octets.last_chunk::<8>() {
            self.asked.insert(association, (to, *nonce));
        }
        self.send(to, &mut octets);
    }

    /// Sends anything. What does not leave is not answered, which its sender notices.
    pub(super) fn send(&self, to: SocketAddr, octets: &mut [u8]) {
        if let Err(error) = send_one(&self.socket, &towards(to), octets) {
            log::debug!("{to} cannot be asked: {error}");
        }
    }

    /// An association is closed; tells whom it asked.
    pub(super) fn forget(&mut self, association: AssociationId) -> Option<SocketAddr> {
        self.asked.remove(&association).map(|(to, _)| to)
    }

    /// Takes what waits, up to a batch.
    pub(super) fn receive(&mut self) -> usize {
        self.batch.receive(&self.socket).unwrap_or(0)
    }

    /// A datagram of the batch, and who sent it.
    pub(super) fn datagram(&mut self, at: usize) -> Option<(SocketAddr, &[u8])> {
        let datagram = self.batch.datagram(at)?;
        Some((datagram.meta.peer, datagram.bytes))
    }

    /// The same as a reply. One socket serves all associations: who sent it tells which. What comes
    /// from nobody who was asked is counted by the machine under a name that it never gave.
    pub(super) fn heard(&mut self, at: usize, wall: &dyn WallClock) -> Option<Heard> {
        let datagram = self.batch.datagram(at)?;
        let (from, local) = (datagram.meta.peer, datagram.meta.local);
        let received = match datagram.received_ns {
            Some(ns) => UnixNs(wall.at_kernel_ns(ns)),
            None => UnixNs(wall.now_ns()),
        };
        // What is longer than a header is no more to the machine than that it is.
        let mut octets = [0; REPLY_LEN_MAX];
        let len = datagram.bytes.len().min(octets.len());
        for (room, octet) in octets.iter_mut().zip(datagram.bytes) {
            *room = *octet;
        }
        let asked = self.asked.iter().find(|(_, (to, _))| *to == from);
        Some(Heard {
            association: asked.map_or(AssociationId(u64::MAX), |(id, _)| *id),
            from,
            local,
            octets,
            len,
            received,
        })
    }

    /// What the kernel says of the next thing that left.
    pub(super) fn departure(&self, wall: &dyn WallClock) -> Departure {
        let mut frame = [0; FRAME_LEN_MAX];
        let Ok(Some((len, ns))) = departure(&self.socket, &mut frame) else {
            return Departure::None;
        };
        let nonce = frame.get(..len).and_then(|frame| frame.last_chunk::<8>());
        let asked = nonce.and_then(|nonce| self.asked.iter().find(|(_, (_, last))| last == nonce));
        match asked {
            Some((&association, _)) => Departure::Request {
                association,
                at: UnixNs(wall.at_kernel_ns(ns)),
            },
            None => Departure::Other,
        }
    }
}

impl Heard {
    pub(super) fn as_input(&self) -> Input<'_> {
        Input::Datagram {
            association: self.association,
            from: self.from,
            local: Some(self.local),
            octets: self.octets.get(..self.len).unwrap_or_default(),
            received: self.received,
        }
    }
}

/// From whichever address of ours and by whichever link the routes say.
fn towards(peer: SocketAddr) -> Meta {
    let local = match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Meta {
        peer,
        local,
        link: 0,
    }
}
