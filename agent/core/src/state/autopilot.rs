//! Autopilot's settings as replicated among the servers.

use lictor_api::types::operator::AutopilotConfiguration;

use super::State;

impl State {
    /// Returns the settings in force: those that an operator set, else `defaults`.
    pub fn autopilot_or<'a>(
        &'a self,
        defaults: &'a AutopilotConfiguration,
    ) -> &'a AutopilotConfiguration {
        self.autopilot.as_deref().unwrap_or(defaults)
    }
}
