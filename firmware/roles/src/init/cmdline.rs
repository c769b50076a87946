//! The kernel's command line: the few words that are ours.

use lintel_model::reset::ResetKind;

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelCommandLine {
    /// `lintel.test=1`: this boot is a test.
    pub test: bool,
    /// `lintel.escape=1`, beside `lintel.test=1`: each role tries its sandbox once.
    pub escape_test: bool,
    /// `lintel.data=/dev/vda` names the device of /data, `lintel.data=none` says that there is
    /// none and not to wait for one.
    pub data: Option<String>,
    /// `lintel.wan=pci-0000:00:03.0`: bus path of the port labelled WAN.
    pub wan: Option<String>,
    /// `lintel.reset=password` or `lintel.reset=factory`: once, as long as it stands there.
    pub reset: Option<ResetKind>,
    /// `lintel.button=88`: number of the key that is the box's button, of
    /// linux/input-event-codes.h, where it is not `KEY_RESTART`.
    pub button: Option<u16>,
}

impl KernelCommandLine {
    /// Reads /proc/cmdline's text. Words of others are passed over.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("lintel.test", value)) => found.test = value == "1",
                Some(("lintel.escape", value)) => found.escape_test = value == "1",
                Some(("lintel.data", value)) => found.data = Some(value.to_owned()),
                Some(("lintel.wan", value)) => found.wan = Some(value.to_owned()),
                Some(("lintel.reset", value)) => found.reset = ResetKind::from_word(value),
                Some(("lintel.button", value)) => found.button = value.parse().ok(),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_words_are_found_among_others() {
        let line = KernelCommandLine::parse("console=ttyS0 lintel.test=1 quiet lintel.data=none\n");
        assert!(line.test);
        assert_eq!(line.data.as_deref(), Some("none"));
        assert!(!KernelCommandLine::parse("lintel.test=0").test);
        let reset = KernelCommandLine::parse("lintel.reset=factory lintel.button=88");
        assert_eq!(
            (reset.reset, reset.button),
            (Some(ResetKind::Factory), Some(88))
        );
        assert_eq!(KernelCommandLine::parse("lintel.reset=all").reset, None);
        assert!(!KernelCommandLine::parse("lintel.tested=1 test=1").test);
    }
}
