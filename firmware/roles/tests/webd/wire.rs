//! Plain sockets and curl as clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Nothing here takes longer on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends `text` and reads until the other end closes or resets.
pub(crate) fn exchange(address: SocketAddr, text: &str) -> String {
    let mut socket = connect(address);
    socket.write_all(text.as_bytes()).unwrap();
    let mut got = Vec::new();
    let _ = socket.read_to_end(&mut got);
    String::from_utf8_lossy(&got).into_owned()
}

/// Reads until `wanted` has come.
pub(crate) fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    let deadline = Instant::now() + PATIENCE;
    while !String::from_utf8_lossy(&got).contains(wanted) {
        assert!(Instant::now() < deadline, "no {wanted:?} came");
        let n = socket.read(&mut chunk).unwrap();
        let so_far = String::from_utf8_lossy(&got).into_owned();
        assert!(n > 0, "the end came before {wanted:?}: {so_far:?}");
        got.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// curl's answer with its head. Whatever the status, curl itself must succeed.
pub(crate) fn curl(args: &[&str]) -> String {
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "20"])
        .args(["--noproxy", "*"])
        .args(args)
        .output()
        .expect("curl is installed (package curl)");
    assert!(
        out.status.success(),
        "curl {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The hidden token of the first form on a page.
pub(crate) fn form_token(page: &str) -> String {
    let (_, after) = page.split_once("name=\"form_token\" value=\"").unwrap();
    after.split('"').next().unwrap().to_owned()
}
