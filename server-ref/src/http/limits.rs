//! Limits on requests: by device, by address, and on bodies received at the same time.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adafed_wire::DeviceId;
use governor::clock::Reference;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::{Clock, Error};

/// How long an upload waits for a place before it is turned away.
const PLACE_WAIT: Duration = Duration::from_secs(5);
/// When an upload without a place shall come back, in milliseconds.
const PLACE_RETRY_MS: u64 = 10_000;
/// A body has this long, and a second more for every [`LEAST_BYTES_PER_SECOND`] of its limit.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Slowest that a body may come.
const LEAST_BYTES_PER_SECOND: u64 = 16 << 10;

/// The limits, and how much of them is used.
pub(crate) struct Guard {
    devices: Option<Limiter<DeviceId>>,
    addresses: Option<Limiter<IpAddr>>,
    places: Arc<Semaphore>,
}

impl Guard {
    pub(crate) fn new(limits: &Limits, clock: &Arc<dyn Clock>) -> Self {
        Self {
            devices: Limiter::new(limits.device_requests_per_minute, clock),
            addresses: Limiter::new(limits.address_requests_per_minute, clock),
            places: Arc::new(Semaphore::new(limits.concurrent_uploads.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Counts a request of a device that has proved to be it: nobody spends another's share.
    pub(crate) fn device(&self, device: DeviceId) -> Result<(), Error> {
        self.devices.as_ref().map_or(Ok(()), |limiter| limiter.count(&device))
    }

    /// Counts a request of somebody unknown.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Error> {
        self.addresses.as_ref().map_or(Ok(()), |limiter| limiter.count(&site(address)))
    }

    /// A place to receive an upload in: taken before its body is read, so that what is in
    /// memory at once is bounded.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = tokio::time::timeout(PLACE_WAIT, self.places.clone().acquire_owned()).await;
        let full = Error::Overloaded { retry_after_ms: PLACE_RETRY_MS };
        place.ok().and_then(Result::ok).ok_or(full)
    }

    /// Forgets who has not been here for so long that nothing is counted any more.
    pub(crate) fn prune(&self) {
        self.devices.iter().for_each(Limiter::prune);
        self.addresses.iter().for_each(Limiter::prune);
    }
}

/// How long a body of at most `bytes` bytes may take to arrive.
pub(crate) const fn body_time(bytes: u64) -> Duration {
    BODY_WAIT.saturating_add(Duration::from_secs(bytes / LEAST_BYTES_PER_SECOND))
}

/// Addresses of one site count as one: whoever has an IPv6 address has a whole /64 of them.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Requests a minute, by key.
struct Limiter<K: Hash + Eq + Clone>(
    RateLimiter<K, HashMapStateStore<K>, Millis, NoOpMiddleware<Nanos>>,
    Millis,
);

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// `None` without a limit.
    fn new(per_minute: u32, clock: &Arc<dyn Clock>) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute)?);
        let clock = Millis(clock.clone());
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Some(Self(limiter, clock))
    }

    fn count(&self, key: &K) -> Result<(), Error> {
        let too_many = |not_until: governor::NotUntil<Nanos>| {
            let now = governor::clock::Clock::now(&self.1);
            let wait = not_until.earliest_possible().duration_since(now).as_u64();
            // Never 0: that would ask for a request that is refused again.
            Error::TooManyRequests { retry_after_ms: wait.div_ceil(1_000_000).max(1) }
        };
        self.0.check_key(key).map_err(too_many)
    }

    fn prune(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

/// The injected clock, as the limiter reads it.
#[derive(Clone)]
struct Millis(Arc<dyn Clock>);

impl governor::clock::Clock for Millis {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now_ms().saturating_mul(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    fn guard(limits: Limits) -> (Guard, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let dynamic: Arc<dyn Clock> = clock.clone();
        (Guard::new(&limits, &dynamic), clock)
    }

    #[test]
    fn a_minute_s_requests_are_taken_and_then_one_at_a_time() {
        let limits = Limits { address_requests_per_minute: 2, ..Limits::default() };
        let (guard, clock) = guard(limits);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(guard.address(one).is_ok() && guard.address(one).is_ok());
        let error = guard.address(one).unwrap_err();
        assert!(matches!(error, Error::TooManyRequests { retry_after_ms: 30_000 }), "{error:?}");
        assert!(guard.address(other).is_ok());
        clock.advance(30_000);
        assert!(guard.address(one).is_ok() && guard.address(one).is_err());
        clock.advance(120_000);
        guard.prune();
        assert!(guard.addresses.as_ref().unwrap().0.is_empty());
    }

    #[test]
    fn a_site_of_ipv6_addresses_is_one() {
        let site_of = |text: &str| site(text.parse().unwrap());
        assert_eq!(site_of("2001:db8::1"), site_of("2001:db8::ffff:2"));
        assert_ne!(site_of("2001:db8::1"), site_of("2001:db8:0:1::1"));
        assert_eq!(site_of("::ffff:10.0.0.1"), site_of("10.0.0.1"));
        assert_ne!(site_of("10.0.0.1"), site_of("10.0.0.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_without_a_place_waits_and_is_turned_away() {
        let (guard, _) = guard(Limits { concurrent_uploads: 1, ..Limits::default() });
        let place = guard.place().await.unwrap();
        let error = guard.place().await.unwrap_err();
        assert!(matches!(error, Error::Overloaded { retry_after_ms: 10_000 }), "{error:?}");
        drop(place);
        assert!(guard.place().await.is_ok());
    }

    #[test]
    fn a_longer_body_has_more_time() {
        assert_eq!(body_time(0), Duration::from_secs(30));
        assert_eq!(body_time(1 << 20), Duration::from_secs(30 + 64));
    }
}
