//! Network coordinates as the engine estimates them from its probes.

use lictor_api::types::coordinate::Coordinate;
use serf::types::coordinate::Coordinate as EngineCoordinate;

use super::Pool;

impl Pool {
    /// Returns the estimated coordinate of this agent.
    pub fn coordinate(&self) -> Coordinate {
        self.0.engine.cooridate().map(|coordinate| convert(&coordinate)).unwrap_or_default()
    }

    /// Returns the coordinate that a member reported with its last probe; `None` for a member that
    /// was not probed yet.
    pub fn coordinate_of(&self, name: &str) -> Option<Coordinate> {
        if name == self.name() {
            return Some(self.coordinate());
        }
        let known = self.0.engine.cached_coordinate(&name.into()).ok().flatten();
        known.map(|coordinate| convert(&coordinate))
    }
}

fn convert(coordinate: &EngineCoordinate) -> Coordinate {
    Coordinate {
        vec: coordinate.portion().to_vec(),
        error: coordinate.error(),
        adjustment: coordinate.adjustment(),
        height: coordinate.height(),
    }
}
