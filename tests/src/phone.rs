//! The owner's phone, which shows the codes of a second factor: oathtool.

use std::process::Command;

/// The code of this secret, as the phone shows it in `ahead_s` seconds.
pub fn code(secret: &str, ahead_s: u32) -> String {
    let at = format!("now + {ahead_s} sec");
    let mut oathtool = Command::new("oathtool");
    oathtool.args(["--totp", "--base32", "--now", &at, secret]);
    let said = oathtool.output().expect("oathtool is installed");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}
