//! What `board/<name>/board.toml` tells the running box. The image builder reads more of it.

use serde::{Deserialize, Serialize};

/// The part of a board's description that goes into the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardSpec {
    /// Short name, as the folder (`x86_64`).
    pub name: String,
    /// Name for people (`Generic PC, UEFI`).
    #[serde(default)]
    pub title: String,
    /// Bus path of the port labelled WAN, when the board has one (`pci-0000:00:03.0`).
    #[serde(default)]
    pub wan_path: Option<String>,
}
