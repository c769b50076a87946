//! Files that are the same for everybody, embedded in the binary.

use crate::webd::front::answer::Answer;

/// One file.
#[derive(Debug)]
pub(crate) struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// Every file. Pages name them with the version as query, so that an update is seen at once.
const ASSETS: [Asset; 3] = [
    Asset {
        path: "/static/lintel.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../../../web/static/lintel.css"),
    },
    Asset {
        path: "/static/live.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../../../web/static/live.js"),
    },
    Asset {
        path: "/static/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../../../../../web/static/icon.svg"),
    },
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
