//! What workers, connections and the store have to do.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::encode::Family;
use crate::domain::meters::{
    AccessLogLine, Counts, Http2Reset, Label, Limit, Meters, ResetBy, StoreCommand, StreamKind, TlsFailure, TlsHandshake,
    WorkerSet,
};

/// What the process measures of itself.
#[derive(Debug)]
pub(super) struct OfProcess(pub(super) Arc<Meters>);

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_connections(&mut encoder)?;
        self.of_workers(&mut encoder)?;
        self.of_access_log(&mut encoder)?;
        self.of_store(&mut encoder)
    }
}

impl OfProcess {
    fn of_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Responses of unknown length and tunnels that have not ended";
        let mut family = Family::new(encoder, "open_streams", help, MetricType::Gauge)?;
        for kind in StreamKind::ALL {
            family.gauge([("kind", kind.name())], self.sum(kind, |set| &set.open))?;
        }
        let mut family = Family::new(encoder, "tunnel_bytes", "Bytes that passed through tunnels", MetricType::Counter)?;
        family.counter([("to", "client")], self.0.sum(|set| set.tunnel_bytes.to_client.get()))?;
        family.counter([("to", "upstream")], self.0.sum(|set| set.tunnel_bytes.to_upstream.get()))?;
        let help = "Handshakes with clients that succeeded";
        let mut family = Family::new(encoder, "tls_handshakes_by_version", help, MetricType::Counter)?;
        for handshake in TlsHandshake::ALL {
            let (version, kind) = handshake.parts();
            family.counter([("version", version), ("kind", kind)], self.sum(handshake, |set| &set.handshakes))?;
        }
        let help = "Handshakes with clients that failed";
        let mut family = Family::new(encoder, "tls_handshakes_failed", help, MetricType::Counter)?;
        for cause in TlsFailure::ALL {
            family.counter([("cause", cause.name())], self.sum(cause, |set| &set.handshakes_failed))?;
        }
        let help = "Clients' streams of HTTP/2 that were reset";
        let mut family = Family::new(encoder, "http2_resets", help, MetricType::Counter)?;
        for by in ResetBy::ALL {
            for code in Http2Reset::ALL {
                let count = self.sum(code, |set| set.resets(by));
                if count > 0 {
                    family.counter([("by", by.name()), ("code", code.name())], count)?;
                }
            }
        }
        let mut family = Family::new(encoder, "limited", "Calls that were one too many, by the limit", MetricType::Counter)?;
        for limit in Limit::ALL {
            let here = self.0.control().limited.of(limit).get();
            family.counter([("limit", limit.name())], here.wrapping_add(self.sum(limit, |set| &set.limited)))?;
        }
        Ok(())
    }

    fn of_access_log(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Lines of the access log, by what became of them";
        let mut family = Family::new(encoder, "access_log_lines", help, MetricType::Counter)?;
        for outcome in AccessLogLine::ALL {
            family.counter([("outcome", outcome.name())], self.0.control().access_log.of(outcome).get())?;
        }
        Ok(())
    }

    fn of_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Tokens that workers remember as verified";
        Family::new(encoder, "token_cache_entries", help, MetricType::Gauge)?.gauge([], self.0.sum(|set| set.tokens.get()))?;
        let help = "Tokens that workers forgot to make room for others";
        let evicted = self.0.sum(|set| set.tokens_evicted.get());
        Family::new(encoder, "token_cache_evictions", help, MetricType::Counter)?.counter([], evicted)?;
        let numbers: Vec<String> = (0..self.0.workers().count()).map(|number| number.to_string()).collect();
        let help = "For how long each worker was at work: its rate is the share of a core";
        let mut family = Family::new(encoder, "worker_busy_seconds", help, MetricType::Counter)?;
        for (number, set) in numbers.iter().zip(self.0.workers()) {
            family.seconds([("worker", number)], set.busy_nanos.get())?;
        }
        let help = "By how much the ticks of each worker came late, of which there are twenty in a second";
        let mut family = Family::new(encoder, "event_loop_lag_seconds", help, MetricType::Histogram)?;
        for (number, set) in numbers.iter().zip(self.0.workers()) {
            family.histogram([("worker", number)], &set.lag.read())?;
        }
        Ok(())
    }

    fn of_store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long calls of the store took, those that failed included";
        let mut family = Family::new(encoder, "store_call_duration_seconds", help, MetricType::Histogram)?;
        let control = self.0.control();
        let measured = StoreCommand::ALL.into_iter().map(|command| (command, control.store(command).read()));
        let called: Vec<_> = measured.filter(|(_, spans)| spans.count() > 0).collect();
        for (command, spans) in &called {
            family.histogram([("command", command.name())], spans)?;
        }
        let mut family = Family::new(encoder, "store_call_failures", "Calls of the store that failed", MetricType::Counter)?;
        for (command, _) in &called {
            family.counter([("command", command.name())], control.store_failures.of(*command).get())?;
        }
        Ok(())
    }

    fn sum<L: Label>(&self, value: L, counts: impl Fn(&WorkerSet) -> &Counts<L>) -> u64 {
        self.0.sum(|set| counts(set).of(value).get())
    }
}
