//! A model made ready to run.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use adafed_algorithm::Layout;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::cpu::{Engine, Packed, Workspace};
use super::device::Device;
use super::front::Front;
#[cfg(feature = "candle")]
use super::generic::GenericModel;
use super::graph::{Graph, Initial};
use super::weights::{read_safetensors, write_safetensors};
use super::{Architecture, Error, ModelSpec};

/// A checked model. It holds no trainable parameters: every call is given them, or
/// [`Model::bind`] keeps them. Frozen parameters (`trainable: false`, and the base under a
/// LoRA) are the model's own: public, the same for every device.
///
/// A clone shares the plan, the frozen parameters and the buffers.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) plan: Arc<Plan>,
    frozen: Arc<Vec<f32>>,
    /// Features before the layers.
    pub(super) front: Option<Front>,
    /// Where training runs if not on AdaFed's own kernels.
    #[cfg(feature = "candle")]
    tensors: Option<Arc<GenericModel>>,
}

/// What follows from the architecture alone, and buffers that are kept between calls.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) engine: Engine,
    /// As `engine`, with every gradient whole; made when first asked for.
    materialised: OnceLock<Engine>,
    layout: Layout,
    frozen_layout: Layout,
    packed: Mutex<Vec<Packed>>,
    workspaces: Mutex<Vec<Workspace>>,
}

/// A model with one parameter vector, shared by the micro-batches of a step.
#[derive(Debug)]
pub struct BoundModel<'m> {
    pub(super) model: &'m Model,
    pub(super) packed: Packed,
}

impl Model {
    /// Checks `spec` and prepares its layers. Features are made when they are first needed:
    /// [`Model::features`].
    ///
    /// # Errors
    /// As [`ModelSpec::check`], and [`Error::NoParameters`].
    pub fn new(spec: &ModelSpec) -> Result<Self, Error> {
        let front = spec.features.clone().map(|features| Front::new(features, spec.input.clone()));
        Ok(Self { front, ..Self::of(spec.architecture()?)? })
    }

    /// A model written in Rust, from [`ModelBuilder::finish`](super::ModelBuilder::finish).
    ///
    /// # Errors
    /// [`Error::NoParameters`] where training would have nothing to change.
    pub fn of(architecture: Architecture) -> Result<Self, Error> {
        let graph = architecture.0;
        let (layout, frozen_layout) = (graph.layout(true), graph.layout(false));
        if layout.is_empty() {
            return Err(Error::NoParameters);
        }
        let plan = Plan {
            engine: Engine::new(graph, false),
            materialised: OnceLock::new(),
            layout,
            frozen_layout,
            packed: Mutex::default(),
            workspaces: Mutex::default(),
        };
        let model = Self {
            plan: Arc::new(plan),
            frozen: Arc::default(),
            front: None,
            #[cfg(feature = "candle")]
            tensors: None,
        };
        let frozen = model.initial_tensors(0, false);
        Ok(Self { frozen: Arc::new(frozen), ..model })
    }

    /// The layers alone: a model that takes what the features give, and shares all else. To
    /// train it on features that are kept
    /// ([`Examples::with_features`](crate::data::Examples::with_features),
    /// [`Featured`](crate::data::features::Featured)) gives the same bits as to train the
    /// whole model, which computes an example's features whenever it is drawn.
    #[must_use]
    pub fn layers(&self) -> Self {
        Self { front: None, ..self.clone() }
    }

    /// The model with its training on `device`: a GPU through candle, or the CPU through
    /// AdaFed's own kernels. The clip, the sum and the noise stay on the CPU, the same code
    /// for every device.
    ///
    /// # Errors
    /// [`Error::Device`] where this build or this machine has no such device.
    #[cfg_attr(not(feature = "candle"), expect(unused_mut, reason = "only the CPU is there"))]
    pub fn on(mut self, device: Device) -> Result<Self, Error> {
        #[cfg(not(feature = "candle"))]
        device.check()?;
        #[cfg(feature = "candle")]
        {
            let tensors = || GenericModel::new(self.graph(), device).map(Arc::new);
            self.tensors = if device == Device::Cpu { None } else { Some(tensors()?) };
        }
        Ok(self)
    }

    /// The model with its training on tensor operations on the CPU: the same code as on a
    /// GPU, for tests.
    #[cfg(all(test, feature = "candle"))]
    pub(crate) fn on_tensors(mut self) -> Result<Self, Error> {
        self.tensors = Some(Arc::new(GenericModel::new(self.graph(), Device::Cpu)?));
        Ok(self)
    }

    /// Whether training runs on AdaFed's own kernels.
    pub(crate) fn is_on_kernels(&self) -> bool {
        #[cfg(feature = "candle")]
        return self.tensors.is_none();
        #[cfg(not(feature = "candle"))]
        true
    }

    #[cfg(feature = "candle")]
    pub(crate) fn tensors(&self) -> Option<&GenericModel> {
        self.tensors.as_deref()
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.plan.engine.graph
    }

    /// Names, shapes and order of the parameters that training changes.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.plan.layout
    }

    /// Names, shapes and order of the frozen parameters.
    #[must_use]
    pub fn frozen_layout(&self) -> &Layout {
        &self.plan.frozen_layout
    }

    /// The frozen parameters, in the order of [`Model::frozen_layout`].
    #[must_use]
    pub fn frozen(&self) -> &[f32] {
        &self.frozen
    }

    /// The model with other frozen parameters.
    ///
    /// # Errors
    /// [`Error::Parameters`] where the length is not that of [`Model::frozen_layout`].
    pub fn with_frozen(self, values: Vec<f32>) -> Result<Self, Error> {
        let (found, expected) = (values.len(), self.plan.frozen_layout.len());
        match found == expected {
            true => Ok(Self { frozen: Arc::new(values), ..self }),
            false => Err(Error::Parameters { found, expected }),
        }
    }

    /// The model with its frozen parameters read by name from a safetensors file, such as
    /// a pre-trained base. The file may hold other tensors too.
    ///
    /// # Errors
    /// As [`read_safetensors`].
    pub fn with_frozen_from(self, path: &Path) -> Result<Self, Error> {
        let values = read_safetensors(path, self.frozen_layout())?;
        self.with_frozen(values)
    }

    /// Reads trainable parameters by name from a safetensors file.
    ///
    /// # Errors
    /// As [`read_safetensors`].
    pub fn load(&self, path: &Path) -> Result<Vec<f32>, Error> {
        read_safetensors(path, self.layout())
    }

    /// Writes trainable `parameters` `[d]` and the frozen ones to a safetensors file.
    ///
    /// # Errors
    /// [`Error::Parameters`], and those of [`write_safetensors`].
    pub fn save(&self, path: &Path, parameters: &[f32]) -> Result<(), Error> {
        self.check_parameters(parameters)?;
        let tensors = [self.layout(), self.frozen_layout()];
        let layout = Layout { tensors: tensors.iter().flat_map(|l| l.tensors.clone()).collect() };
        write_safetensors(path, &layout, &[parameters, &self.frozen].concat())
    }

    /// Number d of parameters that training changes.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.plan.layout.len()
    }

    /// Shape of one example, as an app has it.
    #[must_use]
    pub fn input_shape(&self) -> &[usize] {
        self.front.as_ref().map_or(&self.graph().input, |front| &front.input)
    }

    /// Values of one example.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input_shape().iter().product()
    }

    /// Shape of what the layers see of one example: of its features, or its own.
    #[must_use]
    pub fn seen_shape(&self) -> &[usize] {
        &self.graph().input
    }

    /// Values of one output; the number of classes where the loss is cross-entropy.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.graph().output().iter().product()
    }

    /// Number of classes: the last dimension of the output.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.graph().output().last().copied().unwrap_or(0)
    }

    /// Values of one target; see [`Loss`](super::Loss).
    #[must_use]
    pub fn target_len(&self) -> usize {
        self.graph().target_len()
    }

    /// Examples that go through the layers together: a function of the model alone, so that
    /// cutting a batch into micro-batches is the same everywhere.
    #[must_use]
    pub fn micro_batch(&self) -> usize {
        self.plan.engine.micro_batch
    }

    /// First values of the trainable parameters, `[d]`: for linear and convolution layers
    /// uniform on `+-1 / sqrt(fan in)`, weights and biases alike, as PyTorch's start. The
    /// same seed gives the same bits on every machine. Public: the seed is part of the task.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        self.initial_tensors(seed, true)
    }

    fn initial_tensors(&self, seed: u64, trainable: bool) -> Vec<f32> {
        let mut generator = ChaCha20Rng::seed_from_u64(seed);
        let mut values = Vec::new();
        for tensor in self.graph().tensors.iter().filter(|t| t.trainable == trainable) {
            match tensor.initial {
                Initial::Constant(value) => values.resize(values.len() + tensor.len(), value),
                Initial::Uniform { bound } => {
                    values.extend((0..tensor.len()).map(|_| bound * symmetric(&mut generator)));
                }
            }
        }
        values
    }

    /// Joins the model with a parameter vector `[d]`.
    ///
    /// # Errors
    /// [`Error::Parameters`] where the length is not d, [`Error::NotFiniteParameter`].
    pub fn bind(&self, parameters: &[f32]) -> Result<BoundModel<'_>, Error> {
        self.check_parameters(parameters)?;
        let mut packed = take(&self.plan.packed).unwrap_or_default();
        let (mut trainable, mut frozen) = (parameters, &self.frozen[..]);
        let tensors = self.graph().tensors.iter().map(|tensor| {
            let from = if tensor.trainable { &mut trainable } else { &mut frozen };
            let (own, rest) = from.split_at(tensor.len());
            *from = rest;
            own
        });
        let tensors: Vec<&[f32]> = tensors.collect();
        packed.fill(&self.plan.engine, &tensors);
        Ok(BoundModel { model: self, packed })
    }

    fn check_parameters(&self, parameters: &[f32]) -> Result<(), Error> {
        let (found, expected) = (parameters.len(), self.parameters());
        if found != expected {
            return Err(Error::Parameters { found, expected });
        }
        // Without a way out of the loop it becomes vector code.
        if parameters.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(());
        }
        let index = parameters.iter().position(|value| !value.is_finite()).unwrap_or(0);
        let mut ranges = self.layout().ranges();
        let tensor = ranges.find(|(_, range)| range.contains(&index));
        let tensor = tensor.map_or_else(String::new, |(tensor, _)| tensor.name.clone());
        Err(Error::NotFiniteParameter { tensor, index, value: parameters[index] })
    }

    /// The engine whose gradients are whole, in parts that follow `Engine::order`.
    pub(crate) fn materialised(&self) -> &Engine {
        let plan = &self.plan;
        plan.materialised.get_or_init(|| Engine::new(plan.engine.graph.clone(), true))
    }

    /// The engine that leaves in factors what need not be formed.
    pub(crate) fn engine(&self) -> &Engine {
        &self.plan.engine
    }

    /// Buffers for one micro-batch; give them back with [`Model::give_back`].
    pub(crate) fn workspace(&self) -> Workspace {
        take(&self.plan.workspaces).unwrap_or_else(|| Workspace::new(self.materialised()))
    }

    pub(crate) fn give_back(&self, workspace: Workspace) {
        give(&self.plan.workspaces, workspace);
    }
}

impl BoundModel<'_> {
    pub(crate) fn model(&self) -> &Model {
        self.model
    }

    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }
}

impl Drop for BoundModel<'_> {
    fn drop(&mut self) {
        give(&self.model.plan.packed, std::mem::take(&mut self.packed));
    }
}

fn take<T>(pool: &Mutex<Vec<T>>) -> Option<T> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn give<T>(pool: &Mutex<Vec<T>>, value: T) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(value);
}

/// Uniform on `[-1, 1)`, from the top 24 bits of one word.
fn symmetric(generator: &mut ChaCha20Rng) -> f32 {
    const SCALE: f32 = 1.0 / (1 << 23) as f32;
    (generator.next_u32() >> 8) as f32 * SCALE - 1.0
}
