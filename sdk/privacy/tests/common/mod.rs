//! Plans and stores that several suites share.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use std::cell::RefCell;
use std::rc::Rc;

use adafed_privacy::{
    Adjacency, ClipNorm, Counter, Delta, Epsilon, LedgerStore, NoiseMultiplier, Policy,
    PrivacyPhase, PrivacyPlan, ResolutionBits, SamplingRate, TrustModel,
};

/// A store in memory that can be shared, damaged and made to fail.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    pub text: Rc<RefCell<String>>,
    pub counter: Rc<RefCell<Option<Counter>>>,
    pub full: Rc<RefCell<bool>>,
    /// Counters that may still be kept before that fails, too.
    pub counters_left: Rc<RefCell<Option<u32>>>,
}

impl LedgerStore for MemoryStore {
    fn append(&mut self, line: &str) -> Result<(), String> {
        if *self.full.borrow() {
            return Err("no space left on device".into());
        }
        self.text.borrow_mut().push_str(line);
        Ok(())
    }

    fn read(&mut self) -> Result<String, String> {
        Ok(self.text.borrow().clone())
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), String> {
        self.text.borrow_mut().truncate(bytes as usize);
        Ok(())
    }

    fn counter(&mut self) -> Result<Option<Counter>, String> {
        Ok(self.counter.borrow().clone())
    }

    fn keep_counter(&mut self, counter: &Counter) -> Result<(), String> {
        match self.counters_left.borrow_mut().as_mut() {
            Some(0) => return Err("no space left on device".into()),
            Some(left) => *left -= 1,
            None => {}
        }
        *self.counter.borrow_mut() = Some(counter.clone());
        Ok(())
    }
}

pub fn plan() -> PrivacyPlan {
    let sigma = NoiseMultiplier::new(1.1).unwrap();
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.05).unwrap(),
        nominal_examples: 600,
        clip: ClipNorm::new(0.5).unwrap(),
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5).unwrap(),
        local_steps: 2,
        warmup: PrivacyPhase { rounds: 5, noise_multiplier: sigma },
        main: PrivacyPhase { rounds: 20, noise_multiplier: sigma },
    }
}

pub fn policy() -> Policy {
    Policy::new(Epsilon::new(8.0).unwrap(), Delta::new(1e-5).unwrap()).unwrap()
}
