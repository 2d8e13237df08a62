//! Where a model runs.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "candle")]
mod open;

#[cfg(feature = "candle")]
pub(crate) use open::first_line;

/// A processor that runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// AdaFed's own kernels; always there.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number; needs the feature `cuda`.
    Cuda(usize),
    /// An Apple GPU, by its number; needs the feature `metal`.
    Metal(usize),
}

/// Why nothing can run on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller or environment: the device is not one that this build can use here.
    #[error("device {name}: {reason}; {advice}")]
    Device {
        /// The device asked for.
        name: String,
        /// What is in the way.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// Environment or bug: an operation failed, most often for lack of device memory.
    #[error("a tensor operation failed: {reason}")]
    Tensor {
        /// What the tensor library said.
        reason: String,
    },
}

impl Device {
    /// The first of CUDA, Metal and CPU that this build can use on this machine.
    #[must_use]
    pub fn auto() -> Self {
        let gpus = [Self::Cuda(0), Self::Metal(0)];
        gpus.into_iter().find(|device| device.check().is_ok()).unwrap_or(Self::Cpu)
    }

    /// Opens the device and closes it again.
    ///
    /// # Errors
    /// [`Error::Device`] where this build, or this machine, has no such device.
    #[cfg(feature = "candle")]
    pub fn check(self) -> Result<(), Error> {
        self.open().map(|_| ())
    }

    /// Whether the device can be used.
    ///
    /// # Errors
    /// [`Error::Device`] for all but the CPU, as this build has no GPU feature.
    #[cfg(not(feature = "candle"))]
    pub fn check(self) -> Result<(), Error> {
        match self {
            Self::Cpu => Ok(()),
            Self::Cuda(_) | Self::Metal(_) => Err(self.not_built_in()),
        }
    }

    /// The error of a device whose feature this build lacks.
    #[cfg(not(all(feature = "cuda", feature = "metal")))]
    fn not_built_in(self) -> Error {
        match self {
            Self::Metal(_) => self.error(
                "built without the feature metal",
                "rebuild with the feature metal, or use the CPU",
            ),
            Self::Cpu | Self::Cuda(_) => self.error(
                "built without the feature cuda",
                "rebuild with the feature cuda, or use the CPU",
            ),
        }
    }

    fn error(self, reason: impl Into<String>, advice: &'static str) -> Error {
        Error::Device { name: self.to_string(), reason: reason.into(), advice }
    }
}

/// `cpu`, `cuda:0`, `metal:0`: what [`FromStr`] reads.
impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(formatter, "cpu"),
            Self::Cuda(ordinal) => write!(formatter, "cuda:{ordinal}"),
            Self::Metal(ordinal) => write!(formatter, "metal:{ordinal}"),
        }
    }
}

/// Reads `auto`, `cpu`, `cuda`, `cuda:<number>`, `metal` and `metal:<number>`; opens
/// nothing, but for `auto`, which looks for a GPU.
impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, ordinal) = match text.split_once(':') {
            Some((kind, ordinal)) => (kind, ordinal.parse().ok()),
            None => (text, Some(0)),
        };
        match (kind, ordinal) {
            _ if text == "auto" => Ok(Self::auto()),
            _ if text == "cpu" => Ok(Self::Cpu),
            ("cuda", Some(ordinal)) => Ok(Self::Cuda(ordinal)),
            ("metal", Some(ordinal)) => Ok(Self::Metal(ordinal)),
            _ => Err(Error::Device {
                name: text.to_owned(),
                reason: "not the name of a device".to_owned(),
                advice: "use auto, cpu, cuda, cuda:<number>, metal or metal:<number>",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_as_they_are_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal(1)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert_eq!("metal".parse(), Ok(Device::Metal(0)));
        assert_eq!("auto".parse(), Ok(Device::auto()));
    }

    #[test]
    fn other_names_are_refused_with_advice() {
        for name in ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "auto:0", "CUDA"] {
            let error = name.parse::<Device>().expect_err(name).to_string();
            assert!(error.contains("use auto, cpu, cuda"), "{error}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(Device::Cpu.check(), Ok(()));
        assert_eq!(Device::auto().check(), Ok(()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_its_feature_is_an_error_with_advice() {
        let error = Device::Cuda(0).check().expect_err("not built in").to_string();
        let expected = "device cuda:0: built without the feature cuda; \
                        rebuild with the feature cuda, or use the CPU";
        assert_eq!(error, expected);
    }

    #[cfg(not(feature = "metal"))]
    #[test]
    fn metal_without_its_feature_is_an_error_with_advice() {
        let error = Device::Metal(0).check().expect_err("not built in").to_string();
        assert!(error.contains("rebuild with the feature metal"), "{error}");
    }

    /// An absent driver, GPU or library of a `cuda` build must end in an error; a device
    /// that opens passes as well.
    #[cfg(feature = "cuda")]
    #[test]
    fn cuda_opens_or_is_an_error_with_advice() {
        for device in [Device::Cuda(0), Device::Cuda(usize::MAX)] {
            if let Err(error) = device.check() {
                println!("{error}");
                assert!(error.to_string().contains("or use the CPU"), "{error}");
            }
        }
        println!("auto is {}", Device::auto());
    }
}
