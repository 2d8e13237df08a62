//! What the interface keeps beside the database: limits, counts, and who may read.

use std::net::SocketAddr;
use std::sync::Arc;

use super::limits::Guard;
use crate::metrics::Metrics;
use crate::{Clock, ServerConfig};

/// One a service.
pub(crate) struct Front {
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
    pub(crate) open_reading: bool,
    pub(crate) signature_window_ms: u64,
    pub(super) max_body_bytes: usize,
}

impl Front {
    pub(crate) fn new(config: &ServerConfig, clock: &Arc<dyn Clock>) -> Self {
        Self {
            guard: Guard::new(&config.limits, clock),
            metrics: Metrics::new(),
            open_reading: config.open_reading,
            signature_window_ms: config.limits.signature_window_ms,
            max_body_bytes: config.limits.max_body_bytes,
        }
    }
}

/// Where a request comes from, as an extension; absent in a transport without addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);
