//! Network coordinates as the engine estimates them from its probes.

use lictor_api::types::coordinate::Coordinate;
use serf::types::coordinate::Coordinate as EngineCoordinate;

use super::Pool;

impl Pool {
    /// Where this agent is.
    pub fn coordinate(&self) -> Coordinate {
        self.0.engine.cooridate().map(|coordinate| convert(&coordinate)).unwrap_or_default()
    }

    /// Where a member is, as it said when it was last probed; `None` for one not probed yet.
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
