//! Features before the layers: what a description says, and what a model makes of it.

use super::cases::model;
use crate::data::digits;
use crate::data::features::MOST_PAIRS;
use crate::nn::{Error, LayerSpec, Loss, ModelSpec};

fn described(features: &str, layers: &str) -> Result<ModelSpec, Error> {
    let text = format!(
        r#"{{"input": [1, 28, 28], "features": {features}, "layers": {layers},
            "loss": "cross_entropy"}}"#
    );
    ModelSpec::from_json(&text)
}

fn patches(pairs: usize) -> String {
    format!(
        r#"{{"type": "patches", "images": 40, "whitening": {{"directions": 12, "ridge": 0.1,
            "constant": 0.3}}, "filters": {{"seed": 3, "images": 20, "sizes": [5],
            "pairs": {pairs}, "ridge": 0.3, "threshold": 0.8, "grid": 2}}}}"#
    )
}

const SCATTERING: &str = r#"{"type": "scattering", "scales": 2}"#;
const LINEAR: &str = r#"[{"type": "flatten"}, {"type": "linear", "in": 13, "out": 10}]"#;
const MAPS: &str = r#"[{"type": "flatten"}, {"type": "linear", "in": 3969, "out": 10}]"#;

#[test]
fn features_go_round_through_json() {
    for (features, layers) in [(&patches(4)[..], LINEAR), (SCATTERING, MAPS)] {
        let spec = described(features, layers).unwrap();
        assert!(spec.features.is_some());
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(ModelSpec::from_json(&text), Ok(spec));
    }
}

#[test]
fn a_description_without_features_is_written_as_before_there_were_any() {
    let layers = vec![LayerSpec::linear(4, 3)];
    let spec = ModelSpec { input: vec![4], features: None, layers, loss: Loss::CrossEntropy };
    let text = concat!(
        r#"{"input":[4],"layers":[{"type":"linear","in":4,"out":3,"bias":true,"#,
        r#""trainable":true}],"loss":"cross_entropy"}"#,
    );
    assert_eq!(serde_json::to_string(&spec).unwrap(), text);
    assert_eq!(ModelSpec::from_json(text), Ok(spec));
}

#[test]
fn layers_see_the_features_and_apps_give_raw_inputs() {
    let data = digits(1, 90);
    for (features, layers) in [(&patches(4)[..], LINEAR), (SCATTERING, MAPS)] {
        let whole = model(&described(features, layers).unwrap());
        let seen = data.with_features(&**whole.features().unwrap().unwrap()).unwrap();
        let layers = whole.layers();
        assert_eq!((whole.input_shape(), whole.input_len()), (data.shape(), 784));
        assert_eq!((whole.seen_shape(), layers.input_shape()), (seen.shape(), seen.shape()));
        assert!(layers.features().unwrap().is_none());
        let (parameters, targets) = (whole.initial(1), data.targets());
        assert_eq!(
            whole.predict(&parameters, data.inputs(), 90).unwrap(),
            layers.predict(&parameters, seen.inputs(), 90).unwrap(),
        );
        assert_eq!(
            whole.accuracy(&parameters, data.inputs(), targets).unwrap(),
            layers.accuracy(&parameters, seen.inputs(), targets).unwrap(),
        );
        assert_eq!(
            whole.losses(&parameters, data.inputs(), targets).unwrap(),
            layers.losses(&parameters, seen.inputs(), targets).unwrap(),
        );
        assert_eq!(
            whole.per_example_gradients(&parameters, data.inputs(), targets).unwrap(),
            layers.per_example_gradients(&parameters, seen.inputs(), targets).unwrap(),
        );
        let refused = whole.predict(&parameters, seen.inputs(), 90);
        assert!(matches!(refused, Err(Error::Inputs { .. })), "features are no inputs");
    }
}

#[test]
fn features_that_no_device_has_to_compute_are_refused_by_name() {
    let error = described(&patches(MOST_PAIRS + 1), LINEAR).unwrap_err();
    assert_eq!(error.code(), "data/feature-limit");
    assert_eq!(
        error.to_string(),
        "features: pairs would be 1025, at most 1024 are allowed; take fewer"
    );
}

#[test]
fn features_and_layers_that_do_not_fit_are_refused() {
    let error = described(SCATTERING, LINEAR).unwrap_err();
    assert_eq!(error.to_string(), "layer 1 (linear) is given shape [3969], expected [.., 13]");
    let error = described(r#"{"type": "scattering", "scales": 5}"#, MAPS).unwrap_err();
    assert_eq!(error.code(), "data/scattering");
    let tokens = r#"[{"type": "embedding", "num": 5, "dim": 2}, {"type": "mean_sequence"}]"#;
    let error = described(&patches(4), tokens).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 0 (embedding): input is features, expected tokens, as an app has them"
    );
    for features in [r#"{"type": "glyphs"}"#, r#"{"type": "scattering", "scales": 2, "x": 1}"#] {
        assert_eq!(described(features, MAPS).unwrap_err().code(), "nn.json", "{features}");
    }
}
