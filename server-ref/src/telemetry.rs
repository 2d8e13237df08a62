//! Logs on standard error, as text or JSON, and traces to a collector where the build and the
//! environment ask for them.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// What is flushed when the program ends.
#[must_use = "traces that were not sent are lost when this is dropped early"]
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    traces: Option<traces::Traces>,
}

/// Starts logs of what `filter` lets through; as JSON, one object a line, or as text, in
/// colour only where somebody looks at it.
pub(crate) fn start(filter: EnvFilter, json: bool) -> Telemetry {
    let registry = tracing_subscriber::registry().with(filter);
    #[cfg(feature = "otlp")]
    {
        let traces = traces::Traces::from_environment();
        registry.with(log(json)).with(traces.as_ref().map(traces::Traces::layer)).init();
        Telemetry { traces }
    }
    #[cfg(not(feature = "otlp"))]
    {
        registry.with(log(json)).init();
        Telemetry {}
    }
}

fn log<S>(json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        lines.json().boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        #[cfg(feature = "otlp")]
        self.traces.iter().for_each(traces::Traces::flush);
    }
}

/// Spans over OTLP, encoded with protobuf and sent over HTTP by a thread of their own.
#[cfg(feature = "otlp")]
mod traces {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::registry::LookupSpan;

    /// Where the collector is, such as `http://127.0.0.1:4318`; without it nothing is sent.
    const ENDPOINT: &str = "ADAFED_OTLP_ENDPOINT";
    /// Name of the traces' source.
    const NAME: &str = "adafed-server";

    pub(super) struct Traces(SdkTracerProvider);

    impl Traces {
        /// A collector that cannot be used costs its traces, not the server.
        pub(super) fn from_environment() -> Option<Self> {
            let endpoint = std::env::var(ENDPOINT).ok()?;
            let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
            // The exporter's client takes the process's; another that is set already will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build();
            match exporter {
                Ok(exporter) => Some(Self::to(exporter)),
                Err(e) => {
                    eprintln!("adafed-server: no traces, {ENDPOINT} cannot be used: {e}");
                    None
                }
            }
        }

        fn to(exporter: SpanExporter) -> Self {
            let resource = Resource::builder().with_service_name(NAME).build();
            let provider = SdkTracerProvider::builder().with_resource(resource);
            Self(provider.with_batch_exporter(exporter).build())
        }

        pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
        where
            S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
        {
            tracing_opentelemetry::layer().with_tracer(self.0.tracer(NAME))
        }

        pub(super) fn flush(&self) {
            if let Err(e) = self.0.shutdown() {
                eprintln!("adafed-server: the last traces were not sent: {e}");
            }
        }
    }
}
