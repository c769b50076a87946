//! The server's conversations, and what must hold in every one of them.

mod addresses;
mod answers;
mod lan;
mod promises;
mod random;

use std::collections::BTreeMap;

use lintel_wire::dhcpv4::{ClientFqdn, HardwareAddress, code};
use lintel_wire::frame::{self, Frame, Payload};
use proptest::prelude::*;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetFrame};

use super::*;
