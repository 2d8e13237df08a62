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
                              see that the GPU is visible, or use the CPU";
        if let Some(missing) = cuda_libraries::missing() {
            return Err(self.error(format!("{missing} was not found"), ADVICE));
        }
        self.guarded(ADVICE, || TensorDevice::new_cuda(ordinal))
    }

    #[cfg(not(feature = "cuda"))]
    fn open_cuda(self, _ordinal: usize) -> Result<TensorDevice, Error> {
        Err(self.not_built_in())
    }

    #[cfg(feature = "metal")]
    fn open_metal(self, ordinal: usize) -> Result<TensorDevice, Error> {
        self.guarded("use the CPU", || TensorDevice::new_metal(ordinal))
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
            Ok(Err(error)) => Err(self.error(first_line(&error), advice)),
            Err(_panic) => Err(self.error("its libraries could not be loaded", advice)),
        }
    }
}

/// What the tensor library says of an error, without the trace that it may append.
pub(crate) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Looks for CUDA's libraries where the loader does, without loading them: asking the
/// bindings would print a panic where one is missing, and end a process that is built to
/// abort on panics.
#[cfg(feature = "cuda")]
mod cuda_libraries {
    use std::path::PathBuf;

    /// How messages name a library, and the beginnings of its file's name.
    #[cfg(windows)]
    const LIBRARIES: [(&str, &str); 3] = [
        ("the CUDA driver's library nvcuda", "nvcuda"),
        ("CUDA's library cublas", "cublas64"),
        ("CUDA's library curand", "curand64"),
    ];
    #[cfg(not(windows))]
    const LIBRARIES: [(&str, &str); 3] = [
        ("the CUDA driver's library libcuda", "libcuda.so"),
        ("CUDA's library libcublas", "libcublas.so"),
        ("CUDA's library libcurand", "libcurand.so"),
    ];

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

    /// The variable with folders that the loader searches.
    const VARIABLE: &str = if cfg!(windows) { "PATH" } else { "LD_LIBRARY_PATH" };

    /// The first library that is not there.
    pub(super) fn missing() -> Option<&'static str> {
        let named = std::env::var_os(VARIABLE).unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&named).collect();
        folders.extend(FOLDERS.iter().map(PathBuf::from));
        let names: Vec<String> = folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
        let is_there = |start: &str| {
            names.iter().any(|name| name.starts_with(start))
                || cache.windows(start.len()).any(|window| window == start.as_bytes())
        };
        LIBRARIES.iter().find(|(_, start)| !is_there(start)).map(|(what, _)| *what)
    }
}
