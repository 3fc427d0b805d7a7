//! Autopilot's settings as the servers share them.

use lictor_api::types::operator::AutopilotConfiguration;

use super::State;

impl State {
    /// The settings that hold: those that an operator set, else `defaults`.
    pub fn autopilot_or<'a>(
        &'a self,
        defaults: &'a AutopilotConfiguration,
    ) -> &'a AutopilotConfiguration {
        self.autopilot.as_deref().unwrap_or(defaults)
    }
}
