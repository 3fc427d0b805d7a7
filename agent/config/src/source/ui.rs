//! `ui_config`: the web UI.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// The web UI.
    UiSource {
        /// Serves it. Shown by the API; there is no UI yet.
        enabled: Option<bool> {
            default: "false; true with `-dev`", bounds: "none", reload: Live, example: "true"
        },
        /// Path that it is served under.
        content_path: Option<Value> { ignored, example: r#""/mesh-ui/""# },
        /// Directory of its files.
        dir: Option<Value> { ignored, example: r#""/ui""# },
    }
}
