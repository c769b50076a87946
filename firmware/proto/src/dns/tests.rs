//! The machine as a whole, driven with virtual time and scripted upstreams.

mod answers;
mod bounds;
mod forgeries;
mod house;
mod upstreams;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_time::{Duration, Instant};
use lintel_wire::dns::{
    Class, EdnsRepr, Flags, Name, Packet, Rcode, Rdata, RecordRepr, Repr, RrType, SoaRepr,
};
use proptest::prelude::*;

use super::*;
use crate::rng::SeededRng;
