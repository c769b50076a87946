//! webd as a whole: its loop, its front, tiny_http behind it and pages, against curl, sockets
//! of this test and Chromium.

mod browser;
mod front;
mod house;
mod pages;
mod wire;
