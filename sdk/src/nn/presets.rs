//! Models that are ready to use, and that the benchmarks time.

use super::layers::{Embedding, LayerNorm, Linear, Lora, SelfAttention};
use super::{LayerSpec, Loss, ModelSpec};

impl ModelSpec {
    /// The 26,010-parameter network of the private-learning literature for 28 x 28
    /// grey images and ten classes (Papernot et al., Tempered Sigmoid Activations, 2021).
    #[must_use]
    pub fn mnist_cnn() -> Self {
        let layers = vec![
            LayerSpec::conv2d(1, 16, 8, 2, 3),
            LayerSpec::Tanh,
            LayerSpec::max_pool2d(2, 1),
            LayerSpec::conv2d(16, 32, 4, 2, 0),
            LayerSpec::Tanh,
            LayerSpec::max_pool2d(2, 1),
            LayerSpec::Flatten,
            LayerSpec::linear(512, 32),
            LayerSpec::Tanh,
            LayerSpec::linear(32, 10),
        ];
        Self { input: vec![1, 28, 28], features: None, layers, loss: Loss::CrossEntropy }
    }

    /// The 550,570-parameter network of the same paper for 32 x 32 colour images.
    #[must_use]
    pub fn cifar_cnn() -> Self {
        let mut layers = Vec::new();
        for (inputs, outputs) in [(3, 32), (32, 64), (64, 128)] {
            for inputs in [inputs, outputs] {
                layers.extend([LayerSpec::conv2d(inputs, outputs, 3, 1, 1), LayerSpec::Tanh]);
            }
            layers.push(LayerSpec::max_pool2d(2, 2));
        }
        layers.extend([
            LayerSpec::Flatten,
            LayerSpec::linear(2048, 128),
            LayerSpec::Tanh,
            LayerSpec::linear(128, 10),
        ]);
        Self { input: vec![3, 32, 32], features: None, layers, loss: Loss::CrossEntropy }
    }

    /// A perceptron with one hidden tanh layer: `[inputs] -> hidden -> classes`.
    #[must_use]
    pub fn perceptron(inputs: usize, hidden: usize, classes: usize) -> Self {
        let layers = vec![
            LayerSpec::linear(inputs, hidden),
            LayerSpec::Tanh,
            LayerSpec::linear(hidden, classes),
        ];
        Self { input: vec![inputs], features: None, layers, loss: Loss::CrossEntropy }
    }

    /// A perceptron 784-512-256-10 with relu, for 28 x 28 grey images laid out flat.
    #[must_use]
    pub fn mlp() -> Self {
        let layers = vec![
            LayerSpec::linear(784, 512),
            LayerSpec::Relu,
            LayerSpec::linear(512, 256),
            LayerSpec::Relu,
            LayerSpec::linear(256, 10),
        ];
        Self { input: vec![784], features: None, layers, loss: Loss::CrossEntropy }
    }

    /// A text classifier: the mean of 64 embeddings of a vocabulary of 5,000, then
    /// 64-64-4 with relu.
    #[must_use]
    pub fn text() -> Self {
        let layers = vec![
            LayerSpec::Embedding(Embedding::new(5000, 64)),
            LayerSpec::MeanSequence,
            LayerSpec::linear(64, 64),
            LayerSpec::Relu,
            LayerSpec::linear(64, 4),
        ];
        Self { input: vec![64], features: None, layers, loss: Loss::CrossEntropy }
    }

    /// A transformer encoder that classifies sequences of 64 tokens of a vocabulary of
    /// 1,000: two blocks of width 128 with four heads and 256 hidden units, mean over
    /// positions, four classes.
    #[must_use]
    pub fn transformer() -> Self {
        let block = Block { dim: 128, heads: 4, hidden: 256, base: true, lora: None };
        block.classifier(2, 64, 1000, 4)
    }

    /// A pre-trained encoder of `blocks` blocks that is fine-tuned: embedding, norms and
    /// weights frozen, LoRA of rank `rank` on attention and linear layers, and a trained
    /// head of four classes. `dim` wide with `heads` heads and `hidden` hidden units, for
    /// `length` tokens of a vocabulary of `vocabulary`.
    #[must_use]
    pub fn transformer_lora(
        blocks: usize,
        dim: usize,
        heads: usize,
        hidden: usize,
        length: usize,
        vocabulary: usize,
        rank: usize,
    ) -> Self {
        let lora = Some(Lora { rank, alpha: 2.0 * rank as f32 });
        Block { dim, heads, hidden, base: false, lora }.classifier(blocks, length, vocabulary, 4)
    }
}

/// A block of a transformer encoder that normalises first.
#[derive(Clone, Copy)]
struct Block {
    dim: usize,
    heads: usize,
    hidden: usize,
    /// Whether the base is trained.
    base: bool,
    lora: Option<Lora>,
}

impl Block {
    fn norm(self) -> LayerSpec {
        LayerSpec::LayerNorm(LayerNorm::new(self.dim).trainable(self.base))
    }

    fn linear(self, inputs: usize, outputs: usize) -> LayerSpec {
        LayerSpec::Linear(Linear::new(inputs, outputs).lora(self.lora))
    }

    fn layers(self) -> [LayerSpec; 2] {
        let attention = SelfAttention::new(self.dim, self.heads).lora(self.lora);
        let attend = vec![self.norm(), LayerSpec::SelfAttention(attention)];
        let transform = vec![
            self.norm(),
            self.linear(self.dim, self.hidden),
            LayerSpec::Gelu,
            self.linear(self.hidden, self.dim),
        ];
        [attend, transform].map(|layers| LayerSpec::Residual { layers })
    }

    fn classifier(
        self,
        blocks: usize,
        length: usize,
        vocabulary: usize,
        classes: usize,
    ) -> ModelSpec {
        let embedding = Embedding::new(vocabulary, self.dim).trainable(self.base);
        let mut layers = vec![LayerSpec::Embedding(embedding)];
        layers.extend((0..blocks).flat_map(|_| self.layers()));
        layers.extend([self.norm(), LayerSpec::MeanSequence, LayerSpec::linear(self.dim, classes)]);
        ModelSpec { input: vec![length], features: None, layers, loss: Loss::CrossEntropy }
    }
}
