//! Files that are the same for everybody, embedded in the binary.

use crate::webd::front::answer::Answer;

/// One file.
#[derive(Debug)]
pub(crate) struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// A file below `web/static` with its type.
macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset {
            path: concat!("/static/", $name),
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../../../../web/static/", $name)),
        }
    };
}

/// Every file. Pages name them with the version as query, so that an update is seen at once.
const ASSETS: [Asset; 7] = [
    asset!("lintel.css", "text/css; charset=utf-8"),
    asset!("live.js", "text/javascript; charset=utf-8"),
    asset!("pending.js", "text/javascript; charset=utf-8"),
    asset!("backups.js", "text/javascript; charset=utf-8"),
    asset!("editor.js", "text/javascript; charset=utf-8"),
    asset!("moved.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
];

/// The file at a path.
pub(crate) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The answer that carries it.
    pub(crate) fn answer(&self) -> Answer {
        Answer {
            status: 200,
            fields: vec![
                ("content-type", self.content_type.to_owned()),
                ("cache-control", "max-age=3600".to_owned()),
            ],
            body: self.bytes.to_vec(),
        }
    }
}
