//! The flows that the kernel tracks.

use lintel_wire::ct::{self, FlowRepr};
use lintel_wire::nl::Messages;

use crate::error::NetlinkError;
use crate::socket::Socket;

/// Dumps every flow, over a socket of the netfilter family.
///
/// # Errors
/// [`NetlinkError`].
pub fn observe(socket: &mut Socket) -> Result<Vec<FlowRepr>, NetlinkError> {
    let dump = socket.dump("dumping flows", ct::emit_dump)?;
    let flows: Result<_, _> = Messages::new(&dump)
        .map(|message| FlowRepr::parse(message.payload))
        .collect();
    Ok(flows?)
}

/// Ends one flow.
///
/// # Errors
/// [`NetlinkError::Refused`] with `ENOENT` when it ended by itself.
pub fn end(socket: &mut Socket, flow: &FlowRepr) -> Result<(), NetlinkError> {
    let mut w = socket.writer();
    flow.emit_delete(&mut w);
    socket.request(&w, "ending a flow")
}
