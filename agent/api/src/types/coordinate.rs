//! Network coordinates: points whose distance estimates the round trip between two nodes.
//!
//! Source: Vivaldi, with height and adjustment as in serf and Consul ("Network coordinates").

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in eight dimensions, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Coordinate {
    /// The Euclidean part.
    pub vec: Vec<f64>,
    /// How far the estimate may be off; 1.5 knows nothing.
    #[serde(default)]
    pub error: f64,
    /// What the Euclidean part cannot express, learned from recent probes.
    #[serde(default)]
    pub adjustment: f64,
    /// The way from the node to the network.
    #[serde(default)]
    pub height: f64,
}

// === impl Coordinate ===

impl Default for Coordinate {
    fn default() -> Self {
        Self { vec: vec![0.0; 8], error: 1.5, adjustment: 0.0, height: 1e-5 }
    }
}

impl Coordinate {
    /// Whether every number is one.
    pub fn is_valid(&self) -> bool {
        let numbers = [self.error, self.adjustment, self.height];
        self.vec.iter().chain(&numbers).all(|number| number.is_finite())
    }

    /// The estimated round trip in seconds; infinite for points of other dimensions.
    pub fn seconds_to(&self, other: &Self) -> f64 {
        if self.vec.len() != other.vec.len() {
            return f64::INFINITY;
        }
        let squares: f64 = self.vec.iter().zip(&other.vec).map(|(a, b)| (a - b).powi(2)).sum();
        let raw = squares.sqrt() + self.height + other.height;
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    /// The estimated round trip.
    pub fn distance_to(&self, other: &Self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.seconds_to(other)).ok()
    }
}

/// A node's coordinate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The node.
    pub node: String,
    /// The network segment; always empty.
    #[serde(default)]
    pub segment: String,
    /// Where it is.
    pub coord: Coordinate,
}

/// The servers of a datacenter, as they see each other over the WAN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DatacenterMap {
    /// The datacenter.
    pub datacenter: String,
    /// `wan` for the WAN pool.
    #[serde(rename = "AreaID")]
    pub area_id: String,
    /// Its servers.
    pub coordinates: Vec<Entry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, height: f64, adjustment: f64) -> Coordinate {
        Coordinate { vec: vec![x, 0.0], error: 0.0, adjustment, height }
    }

    #[test]
    fn heights_and_adjustments_count() {
        let distance = at(1.0, 0.1, 0.0).seconds_to(&at(4.0, 0.2, 0.5));
        assert!((distance - 3.8).abs() < 1e-9);
    }

    #[test]
    fn an_adjustment_never_makes_a_distance_negative() {
        let distance = at(1.0, 0.0, -3.0).seconds_to(&at(2.0, 0.0, -3.0));
        assert!((distance - 1.0).abs() < 1e-9);
    }

    #[test]
    fn points_of_other_dimensions_are_infinitely_far() {
        assert!(at(1.0, 0.0, 0.0).seconds_to(&Coordinate::default()).is_infinite());
        assert_eq!(at(1.0, 0.0, 0.0).distance_to(&Coordinate::default()), None);
    }
}
