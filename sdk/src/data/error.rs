//! What can go wrong between a file, or an app, and the trainer.

use std::io;
use std::path::PathBuf;

/// An error of the data layer, grouped by who is to blame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: a shape with no dimension of its own, or one too large to address.
    #[error(
        "example shape {shape:?} holds no values or too many; every dimension must be at least 1"
    )]
    Shape {
        /// The refused shape.
        shape: Vec<usize>,
    },
    /// Caller: inputs and labels do not describe the same number of examples.
    #[error(
        "{found} input values for {examples} labels, expected {expected}; give every example \
         exactly the values of its shape, one after the other"
    )]
    Length {
        /// Input values given.
        found: usize,
        /// Labels given.
        examples: usize,
        /// Input values that the labels and the shape call for.
        expected: usize,
    },
    /// Caller: target values that are not a whole number of targets.
    #[error("{found} target values were given, expected a multiple of {expected}, at least 1 each")]
    Targets {
        /// Target values given.
        found: usize,
        /// Values of one target.
        expected: usize,
    },
    /// Caller: an input is NaN or infinite.
    #[error(
        "example {example}, value {offset} is {value}, expected a finite number; drop the \
         example or replace the value before training"
    )]
    NotFinite {
        /// Index of the example.
        example: usize,
        /// Offset of the value inside the example.
        offset: usize,
        /// What was found.
        value: f32,
    },
    /// Caller: a label that the model has no output for.
    #[error(
        "example {example} has label {label}, expected 0 to {}; number classes from 0 and \
         declare all of them", .classes.saturating_sub(1)
    )]
    Label {
        /// Index of the example.
        example: usize,
        /// The refused label.
        label: u32,
        /// Number of classes declared.
        classes: usize,
    },
    /// Caller: an example that does not exist was asked for.
    #[error("example {index} was asked for, the data set has {len}")]
    Index {
        /// The refused index.
        index: usize,
        /// Number of examples.
        len: usize,
    },
    /// Caller: the buffer for an example has the wrong length.
    #[error("the buffer holds {found} values, an example has {expected}")]
    Buffer {
        /// Length of the buffer.
        found: usize,
        /// Values in one example.
        expected: usize,
    },
    /// Caller: the app's own data source gave no example.
    #[error("the app's data source gave no example {index}: {reason}")]
    Source {
        /// Index of the example.
        index: usize,
        /// What the app said.
        reason: String,
    },
    /// Caller: a scattering transform that does not fit its images.
    #[error(
        "scattering over {scales} scales and {angles} angles does not fit images of shape \
         {shape:?}; take at least 1 scale and 1 angle, and no side shorter than 2^scales"
    )]
    Scattering {
        /// Shape of the images.
        shape: Vec<usize>,
        /// Scales asked for.
        scales: usize,
        /// Angles asked for.
        angles: usize,
    },
    /// Caller: patch features that do not fit their images.
    #[error(
        "patch features do not fit images of shape {shape:?}; take patches smaller than the \
         images, at least as many positions as cells of the grid, and numbers above 0"
    )]
    Patches {
        /// Shape of the images.
        shape: Vec<usize>,
    },
    /// Caller: an augmentation that does not fit its examples.
    #[error(
        "{views} views with shifts of up to {shift} pixels do not fit examples of shape {shape:?}; \
         take images [channels, height, width] with sides longer than a shift, and at least 1 view"
    )]
    Augmentation {
        /// Shape of the examples.
        shape: Vec<usize>,
        /// Views asked for.
        views: usize,
        /// Farthest shift asked for.
        shift: usize,
    },
    /// Caller or peer: features of inputs that they do not take.
    #[error("{features} features do not take inputs of shape {shape:?}; they take {expected}")]
    FeatureInput {
        /// Kind of the features, as written in JSON.
        features: &'static str,
        /// Shape of the inputs.
        shape: Vec<usize>,
        /// What they take.
        expected: &'static str,
    },
    /// Caller or peer: features that would take a device more than any may.
    #[error("features: {what} would be {found}, at most {most} are allowed; {advice}")]
    FeatureLimit {
        /// What there would be too much of.
        what: &'static str,
        /// How much of it.
        found: u64,
        /// The limit.
        most: u64,
        /// What would help.
        advice: &'static str,
    },
    /// Caller or peer: a number among the settings of features that means nothing.
    #[error("features: {setting} is {value}, expected {expected}")]
    FeatureSetting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Environment: a file of the set is not there.
    #[error(
        "{} is not in {}; put one of {looked_for:?} there, or use the built-in digits",
        .looked_for[0], .directory.display()
    )]
    Missing {
        /// Directory that was searched.
        directory: PathBuf,
        /// Names that would have been accepted.
        looked_for: Vec<String>,
    },
    /// Environment: a file could not be opened, read or unpacked.
    #[error("{} cannot be read: {kind}; check its permissions, or fetch it again", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system or the gzip decoder said.
        kind: io::ErrorKind,
    },
    /// File: it does not begin with the magic number that its role asks for.
    #[error(
        "{} begins with magic {found:#010x}, expected {expected:#010x} (u8 elements, {dimensions} \
         dimensions); is it another file of the set, or no IDX file?", .path.display()
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// Magic number found.
        found: u32,
        /// Magic number expected.
        expected: u32,
        /// Dimensions expected.
        dimensions: u8,
    },
    /// File: an IDX file of the right shape whose elements are not unsigned bytes.
    #[error(
        "{} holds IDX elements of type {found:#04x}, expected 0x08 (unsigned byte); convert it",
        .path.display()
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// Element type found.
        found: u8,
    },
    /// File: the header promises more than the file can hold.
    #[error(
        "the header of {} promises {promised} bytes, at most {possible} are possible; the header \
         is damaged or the file is cut short", .path.display()
    )]
    Promise {
        /// The file.
        path: PathBuf,
        /// Bytes that the dimensions multiply to (saturating).
        promised: u64,
        /// Most bytes that a file of this size, or any accepted file, can hold.
        possible: u64,
    },
    /// File: it ends before the data that its header promises.
    #[error(
        "{} ends after {found} bytes of data, its header promises {expected}; fetch it again",
        .path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// File: it goes on after the data that its header promises.
    #[error(
        "{} goes on after the {expected} bytes of data that its header promises; fetch it again",
        .path.display()
    )]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Bytes promised.
        expected: u64,
    },
    /// File: a line of text that is not what the set's format asks for. The line itself is not
    /// shown: it is somebody's record.
    #[error(
        "line {line} of {} has a wrong {what}; take the file as it was published", .path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it, such as a column's name.
        what: &'static str,
    },
    /// File: the images and the labels do not belong together.
    #[error(
        "{} has {images} images but {} has {labels} labels; take both from the same set",
        .images_path.display(), .labels_path.display()
    )]
    Counts {
        /// File of the images.
        images_path: PathBuf,
        /// Images found.
        images: usize,
        /// File of the labels.
        labels_path: PathBuf,
        /// Labels found.
        labels: usize,
    },
}

impl Error {
    /// Stable identifier, for logs and for the C interface.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "data/shape",
            Self::Length { .. } => "data/length",
            Self::NotFinite { .. } => "data/not-finite",
            Self::Label { .. } => "data/label",
            Self::Index { .. } => "data/index",
            Self::Targets { .. } => "data/targets",
            Self::Buffer { .. } => "data/buffer",
            Self::Source { .. } => "data/source",
            Self::Scattering { .. } => "data/scattering",
            Self::Patches { .. } => "data/patches",
            Self::Augmentation { .. } => "data/augmentation",
            Self::FeatureInput { .. } => "data/feature-input",
            Self::FeatureLimit { .. } => "data/feature-limit",
            Self::FeatureSetting { .. } => "data/feature-setting",
            Self::Missing { .. } => "data/missing",
            Self::Read { .. } => "data/read",
            Self::Magic { .. } => "data/magic",
            Self::ElementType { .. } => "data/element-type",
            Self::Promise { .. } => "data/promise",
            Self::Truncated { .. } => "data/truncated",
            Self::Trailing { .. } => "data/trailing",
            Self::Line { .. } => "data/line",
            Self::Counts { .. } => "data/counts",
        }
    }

    /// Whether the same call may succeed later without any change: only when the app's
    /// source had nothing to give.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Source { .. })
    }
}
