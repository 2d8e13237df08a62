//! A step of local training with everything around it, small.

use std::cell::RefCell;
use std::rc::Rc;

use adafed::algorithm::{AlgorithmPlan, FederationPlan, Mask, Plans, Standardisation};
use adafed::data::{Dataset, Error};
use adafed::nn::{LayerSpec, Loss, Model, ModelSpec};
use adafed::privacy::audit::Confidence;
use adafed::privacy::{
    Composition, Counter, Delta, EphemeralStore, Ledger, LedgerStore, NoiseMultiplier, Permit,
    PrivacyPhase, PrivacyPlan, SamplingRate, accounting,
};
use adafed::train::{LocalRound, Setting};
use adafed_tests::fixture::{self, Failure};

/// Name of the task that is charged.
pub(crate) const TASK: &str = "audited";

/// The confidence of every audit here.
pub(crate) fn confidence() -> Result<Confidence, Failure> {
    Ok(Confidence::new(0.999)?)
}

/// One round of one step.
pub(crate) fn privacy(rate: f64, noise_multiplier: f64) -> Result<PrivacyPlan, Failure> {
    let noise_multiplier = NoiseMultiplier::new(noise_multiplier)?;
    let main = PrivacyPhase { rounds: 1, noise_multiplier };
    let rate = SamplingRate::new(rate)?;
    Ok(PrivacyPlan { rate, main, ..fixture::privacy(0, 1, 1)? })
}

/// Records that outlive the ledger that wrote them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Rc<RefCell<EphemeralStore>>);

impl Records {
    /// Those of a device's file, with the counter that was kept with them.
    pub(crate) fn of(text: &str) -> Result<Self, Failure> {
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or("null"))?;
        let last = last["hash"].as_str().unwrap_or_default().to_owned();
        let mut store = EphemeralStore::default();
        store.append(text)?;
        store.keep_counter(&Counter { records: text.lines().count() as u64, last })?;
        Ok(Self(Rc::new(RefCell::new(store))))
    }

    /// What a process that starts again would find.
    pub(crate) fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

impl LedgerStore for Records {
    fn append(&mut self, line: &str) -> Result<(), String> {
        self.0.borrow_mut().append(line)
    }

    fn read(&mut self) -> Result<String, String> {
        self.0.borrow_mut().read()
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), String> {
        self.0.borrow_mut().truncate(bytes)
    }

    fn counter(&mut self) -> Result<Option<Counter>, String> {
        self.0.borrow_mut().counter()
    }

    fn keep_counter(&mut self, counter: &Counter) -> Result<(), String> {
        self.0.borrow_mut().keep_counter(counter)
    }
}

/// A ledger whose owner allows nearly everything.
pub(crate) fn ledger(records: Records) -> Result<Ledger<Records>, Failure> {
    let mut policy = fixture::policy(1e6)?;
    policy.least_noise_multiplier = NoiseMultiplier::new(1e-3)?;
    Ok(Ledger::open(records, policy)?)
}

/// The permit of the only round, from a ledger of its own.
pub(crate) fn permit(plan: &PrivacyPlan) -> Result<Permit, Failure> {
    let mut ledger = ledger(Records::default())?;
    ledger.accept(TASK, "plan", plan)?;
    Ok(ledger.charge(TASK, 0)?)
}

/// What the account says of one step, at `delta`.
pub(crate) fn claim(plan: &PrivacyPlan, delta: Delta) -> f64 {
    let charged: Composition = plan.round_event(0).into_iter().collect();
    accounting::epsilon(&charged, delta).epsilon
}

/// Examples that nobody checked, as an app's own store may give them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) shape: Vec<usize>,
    pub(crate) classes: usize,
    /// One an example.
    pub(crate) inputs: Vec<Vec<f32>>,
    pub(crate) labels: Vec<f32>,
}

impl Table {
    /// The same without some examples.
    pub(crate) fn only(&self, is_in: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.labels.len()).filter(|i| is_in(*i)).collect();
        let inputs = kept.iter().map(|i| self.inputs[*i].clone()).collect();
        let labels = kept.iter().map(|i| self.labels[*i]).collect();
        Self { inputs, labels, shape: self.shape.clone(), ..*self }
    }
}

impl Dataset for Table {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error> {
        input.copy_from_slice(&self.inputs[index]);
        target[0] = self.labels[index];
        Ok(())
    }
}

/// The public side of a step.
pub(crate) struct Task {
    pub(crate) model: Model,
    pub(crate) privacy: PrivacyPlan,
    pub(crate) algorithm: AlgorithmPlan,
    pub(crate) mask: Mask,
    pub(crate) standardisation: Standardisation,
    pub(crate) parameters: Vec<f32>,
    /// A device's records when it has agreed to the plan.
    agreed: Records,
}

impl Task {
    /// Every coordinate active, nothing standardised.
    pub(crate) fn new(spec: &ModelSpec, privacy: PrivacyPlan) -> Result<Self, Failure> {
        let model = Model::new(spec)?;
        let algorithm = fixture::plan(privacy, 1)?.algorithm;
        let (mask, standardisation) = (Mask::full(model.parameters()), Standardisation::none());
        let (parameters, agreed) = (model.initial(5), Records::default());
        ledger(agreed.clone())?.accept(TASK, "plan", &privacy)?;
        Ok(Self { model, privacy, algorithm, mask, standardisation, parameters, agreed })
    }

    /// The records of a device that has agreed to the plan and has released nothing.
    pub(crate) fn agreed(&self) -> Records {
        self.agreed.copy()
    }

    pub(crate) fn plans(&self) -> Plans<'_> {
        let Self { model, privacy, algorithm, .. } = self;
        Plans { layout: model.layout(), privacy, algorithm, federation: &FederationPlan::DEFAULT }
    }

    pub(crate) fn round<'a>(&'a self, data: &'a dyn Dataset) -> Result<LocalRound<'a>, Failure> {
        let Self { model, mask, standardisation, .. } = self;
        Ok(LocalRound::new(Setting { model, data, plans: self.plans(), mask, standardisation })?)
    }
}

/// One linear layer from `inputs` numbers to `outputs` classes.
pub(crate) fn linear(inputs: usize, outputs: usize) -> ModelSpec {
    let layers = vec![LayerSpec::linear(inputs, outputs)];
    ModelSpec { input: vec![inputs], features: None, layers, loss: Loss::CrossEntropy }
}
