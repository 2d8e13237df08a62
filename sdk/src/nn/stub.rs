use super::{Error, LayerSpec, ModelSpec};
use super::graph::*;
use crate::kernels::Activation;
pub struct Architecture(pub(crate) Graph);
impl ModelSpec {
    pub(crate) fn architecture(&self) -> Result<Architecture, Error> {
        let shapes = self.shapes()?;
        let mut g = Graph { input: self.input.clone(), nodes: vec![], tensors: vec![], loss: self.loss };
        for (i, l) in self.layers.iter().enumerate() {
            let fan = match *l { LayerSpec::Linear{inputs,..} => inputs, LayerSpec::Conv2d{inputs,kernel,..} => inputs*kernel*kernel, _ => 1};
            let mut ts = vec![];
            for (n, s) in l.tensors() { ts.push(g.tensors.len()); g.tensors.push(Tensor{name: format!("{i}.{n}"), shape: s, trainable: true, initial: Initial::Uniform{bound: 1.0/(fan as f32).sqrt()}}); }
            let op = match *l {
                LayerSpec::Linear{inputs,outputs,bias} => Primitive::Linear{inputs,outputs,bias},
                LayerSpec::Conv2d{inputs,outputs,kernel,stride,padding,bias} => Primitive::Conv2d{geometry: Convolution{inputs,outputs,kernel:[kernel;2],stride:[stride;2],padding:[padding;2],dilation:[1;2],groups:1}, bias},
                LayerSpec::Relu => Primitive::Activation(Activation::Relu),
                LayerSpec::Tanh => Primitive::Activation(Activation::Tanh),
                LayerSpec::Gelu => Primitive::Activation(Activation::Gelu),
                LayerSpec::Silu => Primitive::Activation(Activation::Silu),
                LayerSpec::Sigmoid => Primitive::Activation(Activation::Sigmoid),
                LayerSpec::MaxPool2d{kernel,stride} => Primitive::Pool{average:false,kernel:[kernel;2],stride:[stride.unwrap_or(kernel);2]},
                LayerSpec::AvgPool2d{kernel,stride} => Primitive::Pool{average:true,kernel:[kernel;2],stride:[stride.unwrap_or(kernel);2]},
                LayerSpec::Flatten => Primitive::Reshape,
            };
            g.nodes.push(Node{op, inputs: vec![i], tensors: ts, shape: shapes[i+1].clone(), layer: i.to_string(), layer_type: l.type_name()});
        }
        Ok(Architecture(g))
    }
}

impl ModelSpec {
  pub fn cifar_cnn() -> Self { let mut layers = vec![]; let mut c=3; for w in [32,64,128] { for _ in 0..2 { layers.push(LayerSpec::conv2d(c,w,3,1,1)); layers.push(LayerSpec::Tanh); c=w; } layers.push(LayerSpec::MaxPool2d{kernel:2,stride:None}); } layers.push(LayerSpec::Flatten); layers.push(LayerSpec::linear(2048,128)); layers.push(LayerSpec::Tanh); layers.push(LayerSpec::linear(128,10)); Self{input: vec![3,32,32], layers, loss: super::Loss::CrossEntropy} }
  pub fn mlp() -> Self { Self{input: vec![784], layers: vec![LayerSpec::linear(784,512),LayerSpec::Relu,LayerSpec::linear(512,256),LayerSpec::Relu,LayerSpec::linear(256,10)], loss: super::Loss::CrossEntropy} }
  pub fn text() -> Self { Self::mlp() }
  pub fn transformer() -> Self { Self::mlp() }
  pub fn transformer_lora(_:usize,_:usize,_:usize,_:usize,_:usize,_:usize,_:usize) -> Self { Self::mlp() }
}
