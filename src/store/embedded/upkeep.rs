//! Upkeep of the embedded store: one node has all leases, and everything else is a change like any other.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;

use super::Embedded;
use super::writer::Room;
use crate::domain::node::NodeId;
use crate::domain::stats::{Day, Gauge, Readings};
use crate::domain::time::Timestamp;
use crate::store::{
    DayTotals, Duty, Fence, Fenced, Lease, Measurement, Statistics, StoreError, SweepPlace, SweepRecord, SweepStep, Upkeep,
};

#[async_trait]
impl Upkeep for Embedded {
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, now: Timestamp) -> Result<Lease, StoreError> {
        self.change(Room::Shrinks, move |draft| draft.lease(duty, holder, span, now)).await
    }

    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError> {
        self.change(Room::Shrinks, move |draft| draft.release(duty, holder)).await
    }

    async fn sweep(&self, _place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError> {
        self.change(Room::Shrinks, move |draft| draft.sweep(fence, now)).await
    }

    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError> {
        let sweep = *sweep;
        self.change(Room::Grows, move |draft| draft.record_sweep(&sweep, fence)).await
    }

    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError> {
        let mut readings = self.shared.measure(now).await;
        if let Ok(file) = std::fs::metadata(&self.path) {
            readings.set(Gauge::StoreBytes, file.len());
        }
        Ok(readings)
    }

    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError> {
        let measurement = *measurement;
        self.change(Room::Grows, move |draft| draft.record_measurement(&measurement, fence)).await
    }

    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError> {
        let totals = *totals;
        self.change(Room::Grows, move |draft| draft.count(&totals)).await
    }

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError> {
        Ok(self.shared.statistics(days))
    }
}
