//! Whichever target `LINTEL_FUZZ_TARGET` names, fed by libFuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lintel_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("LINTEL_FUZZ_TARGET").unwrap_or_default();
    lintel_fuzz::target(&name)
        .unwrap_or_else(|| panic!("LINTEL_FUZZ_TARGET={name:?} names no target"))
});

fuzz_target!(|data: &[u8]| {
    let _ = (TARGET.run)(data);
});
