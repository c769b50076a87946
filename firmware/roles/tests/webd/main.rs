//! webd as a whole: its loop, its front, tiny_http behind it and pages, against curl, sockets
//! of this test and Chromium.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a test does the IO
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers as well

mod browser;
mod front;
mod house;
mod pages;
mod tls;
mod wire;
