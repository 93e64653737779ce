//! W3C Trace Context as it travels in headers and outbox rows.

use std::fmt;

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{clock, telemetry};

/// A `traceparent` value (W3C Trace Context, level 1).
#[derive(Clone, PartialEq, Eq)]
pub struct TraceParent(String);

const LENGTH: usize = 55;

impl TraceParent {
    /// The start of a new trace. Sampled, so that a collector that is configured sees it.
    pub fn start() -> Self {
        let trace = clock::new_id().simple();
        let (_, span) = clock::new_id().as_u64_pair();
        Self(format!("00-{trace}-{span:016x}-01"))
    }

    /// What a message carried, or a new trace where it carried nothing that can be read.
    pub fn parse(text: Option<&str>) -> Self {
        text.filter(|text| is_well_formed(text))
            .map_or_else(Self::start, |text| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for OpenTelemetry.
    fn span_context(&self) -> Option<SpanContext> {
        let trace = TraceId::from_hex(self.trace_id()).ok()?;
        let span = SpanId::from_hex(self.0.get(36..52)?).ok()?;
        let sampled = TraceFlags::new(u8::from(self.0.ends_with('1')));
        Some(SpanContext::new(
            trace,
            span,
            sampled,
            true,
            TraceState::default(),
        ))
    }

    fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| {
            let (trace, span) = (context.trace_id(), context.span_id());
            Self(format!("00-{trace}-{span}-{:02x}", context.trace_flags()))
        })
    }

    /// 32 hexadecimal digits: what `Request-Id` and `trace_id` show.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }
}

/// Messages of a batch that its span is linked with.
const LINKS_MAX: usize = 128;

/// Puts a span where it belongs: below the one message it handles, or beside the many.
///
/// A batch has no one parent; OpenTelemetry's messaging conventions link it with each message.
pub(crate) fn belong<'a>(span: &Span, mut causes: impl ExactSizeIterator<Item = &'a TraceParent>) {
    if span.is_disabled() {
        return;
    }
    if causes.len() == 1 {
        if let Some(context) = causes.next().and_then(TraceParent::span_context) {
            // It fails where no exporter is there to ask for it.
            let _ = span.set_parent(Context::new().with_remote_span_context(context));
        }
        return;
    }
    for context in causes.take(LINKS_MAX).filter_map(TraceParent::span_context) {
        span.add_link(context);
    }
}

/// Puts the span of a request below what it came with. Returns what goes on from there: the request's
/// workers stand below its span where traces are exported, and beside it where nobody would see it.
pub fn enter(span: &Span, came_with: TraceParent) -> TraceParent {
    if !telemetry::exports() {
        return came_with;
    }
    belong(span, std::iter::once(&came_with));
    let context = span.context();
    TraceParent::of(context.span().span_context()).unwrap_or(came_with)
}

fn is_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == LENGTH
        && text.starts_with("00-")
        && bytes[35] == b'-'
        && bytes[52] == b'-'
        && bytes
            .iter()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b) || *b == b'-')
        && bytes[3..35].iter().any(|b| *b != b'0')
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_value_is_kept_and_anything_else_starts_a_new_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::parse(Some(good)).as_str(), good);
        assert_eq!(
            TraceParent::parse(Some(good)).trace_id(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        for bad in ["", "00", &good[1..], "00-é", &good.replace('a', "Z")] {
            assert!(
                is_well_formed(TraceParent::parse(Some(bad)).as_str()),
                "{bad}"
            );
        }
        assert!(is_well_formed(TraceParent::start().as_str()));
    }
}
