//! Which threads the heavy work runs on.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Where training and prediction run: rayon's current pool by default, or a pool of their
/// own, made at its first use. Clones share it. The bits of a result do not depend on it.
#[derive(Clone, Debug, Default)]
pub struct Threads(Option<Arc<Own>>);

#[derive(Debug)]
struct Own {
    count: NonZeroUsize,
    pool: OnceLock<Option<ThreadPool>>,
}

impl Threads {
    /// So many threads, that end with the last clone.
    #[must_use]
    pub fn own(count: NonZeroUsize) -> Self {
        Self(Some(Arc::new(Own { count, pool: OnceLock::new() })))
    }

    /// Does `work` there and waits for it. Where the system gives no threads, rayon's current
    /// pool takes it.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self.0.as_deref().and_then(Own::pool) {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

impl Own {
    fn pool(&self) -> Option<&ThreadPool> {
        let name = |n| format!("adafed-{n}");
        let builder = || ThreadPoolBuilder::new().num_threads(self.count.get()).thread_name(name);
        self.pool.get_or_init(|| builder().build().ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_on_as_many_threads_as_were_asked_for() {
        let three = Threads::own(NonZeroUsize::new(3).unwrap());
        assert_eq!(three.clone().run(rayon::current_num_threads), 3);
        let name = three.run(|| std::thread::current().name().map(str::to_owned));
        assert!(name.unwrap().starts_with("adafed-"));
        let here = std::thread::current().id();
        assert_eq!(Threads::default().run(|| std::thread::current().id()), here);
    }
}
