//! The smallest /init: says that it runs, and waits. What the kernel and QEMU
//! cost before any of our work begins is measured with it (`qemu/run --check`).
#![allow(clippy::disallowed_methods)] // a program for QEMU, not part of the box

use std::io::Write;

fn main() {
    let mut console = std::io::stdout();
    // A console that cannot be written leaves nothing to tell it with.
    let _ = console.write_all(b"trivial: init started\n");
    loop {
        std::thread::park();
    }
}
