//! Which threads the heavy work runs on.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Error;

/// Where training and prediction run: rayon's current pool by default, or a pool of their
/// own, made at its first use. Clones share it. The bits of a result do not depend on it.
#[derive(Clone, Debug, Default)]
pub struct Threads(Option<Arc<Own>>);

#[derive(Debug)]
struct Own {
    count: NonZeroUsize,
    pool: OnceLock<ThreadPool>,
}

impl Threads {
    /// So many threads, that end with the last clone.
    #[must_use]
    pub fn own(count: NonZeroUsize) -> Self {
        Self(Some(Arc::new(Own { count, pool: OnceLock::new() })))
    }

    /// Does `work` there and waits for it.
    ///
    /// # Errors
    /// [`Error::Threads`] where the system gives none now; the next call asks again.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
        match self.0.as_deref() {
            Some(own) => Ok(own.pool()?.install(work)),
            None => Ok(work()),
        }
    }
}

impl Own {
    fn pool(&self) -> Result<&ThreadPool, Error> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let name = |n| format!("adafed-{n}");
        let builder = ThreadPoolBuilder::new().num_threads(self.count.get()).thread_name(name);
        let pool = builder.build().map_err(|e| Error::Threads { reason: e.to_string() })?;
        Ok(self.pool.get_or_init(|| pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_on_as_many_threads_as_were_asked_for() {
        let three = Threads::own(NonZeroUsize::new(3).unwrap());
        assert_eq!(three.clone().run(rayon::current_num_threads).unwrap(), 3);
        let name = three.run(|| std::thread::current().name().map(str::to_owned));
        assert!(name.unwrap().unwrap().starts_with("adafed-"));
        let here = std::thread::current().id();
        assert_eq!(Threads::default().run(|| std::thread::current().id()).unwrap(), here);
    }
}
