//! Opening a device of the tensor library, without its panics.

use candle_core::Device as TensorDevice;

use super::{Device, Error};

impl Device {
    /// The device of the tensor library.
    ///
    /// # Errors
    /// [`Error::Device`] where this build, or this machine, has no such device.
    pub(crate) fn open(self) -> Result<TensorDevice, Error> {
        match self {
            Self::Cpu => Ok(TensorDevice::Cpu),
            Self::Cuda(ordinal) => self.open_cuda(ordinal),
            Self::Metal(ordinal) => self.open_metal(ordinal),
        }
    }

    #[cfg(feature = "cuda")]
    fn open_cuda(self, ordinal: usize) -> Result<TensorDevice, Error> {
        const ADVICE: &str = "install the NVIDIA driver and CUDA 13's cublas and curand, \
                              see that the GPU is visible, or use --device cpu";
        if !cuda_driver::is_installed() {
            return Err(self.error("no CUDA driver library was found", ADVICE));
        }
        self.guarded(ADVICE, || TensorDevice::new_cuda(ordinal))
    }

    #[cfg(not(feature = "cuda"))]
    fn open_cuda(self, _ordinal: usize) -> Result<TensorDevice, Error> {
        Err(self.not_built_in())
    }

    #[cfg(feature = "metal")]
    fn open_metal(self, ordinal: usize) -> Result<TensorDevice, Error> {
        self.guarded("use --device cpu", || TensorDevice::new_metal(ordinal))
    }

    #[cfg(not(feature = "metal"))]
    fn open_metal(self, _ordinal: usize) -> Result<TensorDevice, Error> {
        Err(self.not_built_in())
    }

    /// Runs `open`; its error and its panic become [`Error::Device`]. The bindings panic
    /// where a library, or an entry of it, is missing, and on an absent number.
    #[cfg(any(feature = "cuda", feature = "metal"))]
    fn guarded(
        self,
        advice: &'static str,
        open: impl FnOnce() -> candle_core::Result<TensorDevice>,
    ) -> Result<TensorDevice, Error> {
        // Unwind safe: what a panic leaves half made is local to `open`.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
            Ok(Ok(device)) => Ok(device),
            Ok(Err(error)) => Err(self.error(error.to_string(), advice)),
            Err(_panic) => Err(self.error("its libraries could not be loaded", advice)),
        }
    }
}

/// Looks for the CUDA driver's library where the loader does, without loading it: asking
/// the bindings would print a panic where there is none, and end a process that is built
/// to abort on panics.
#[cfg(feature = "cuda")]
mod cuda_driver {
    use std::path::{Path, PathBuf};

    #[cfg(windows)]
    const LIBRARIES: [&str; 1] = ["nvcuda.dll"];
    #[cfg(not(windows))]
    const LIBRARIES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

    /// The loader's own folders, and those of WSL and of NixOS.
    const FOLDERS: [&str; 9] = [
        "/lib64",
        "/usr/lib64",
        "/usr/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/local/lib",
        "/usr/lib/wsl/lib",
        "/run/opengl-driver/lib",
        r"C:\Windows\System32",
    ];

    /// Variables with folders that the loader searches.
    const VARIABLES: [&str; 2] = ["LD_LIBRARY_PATH", "PATH"];

    pub(super) fn is_installed() -> bool {
        let named = VARIABLES.iter().filter_map(std::env::var_os);
        let named = named.flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
        let mut folders = named.chain(FOLDERS.iter().map(PathBuf::from));
        folders.any(|folder| holds_library(&folder)) || is_cached()
    }

    fn holds_library(folder: &Path) -> bool {
        LIBRARIES.iter().any(|library| folder.join(library).exists())
    }

    /// Whether the loader's cache of installed libraries names one of the driver.
    fn is_cached() -> bool {
        let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
        let name = LIBRARIES[0].as_bytes();
        cache.windows(name.len()).any(|window| window == name)
    }
}
