//! A checkout as a collector of traces sees it.

use anyhow::{Context, Result, ensure};
use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use serde_json::Value;
use shopzen_tests::shop::{Shop, order_of, wait_for};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Exports that wait to be looked at.
const EXPORTS_MAX: usize = 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_one_trace_from_the_request_into_the_workers() -> Result<()> {
    let (exports, mut collected) = mpsc::channel::<Bytes>(EXPORTS_MAX);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/v1/traces", listener.local_addr()?);
    let collect = post(async move |body: Bytes| {
        let _ = exports.send(body).await;
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(axum::serve(listener, Router::new().route("/v1/traces", collect)).into_future());
    let shop = Shop::start_with(&[], &[("SHOPZEN_TELEMETRY__OTLP_ENDPOINT", &endpoint)]).await?;

    let answer = shop
        .order("k", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
        .header("traceparent", format!("00-{TRACE_ID}-{CALLER}-01"))
        .send()
        .await?;
    let request_id = answer.headers()["request-id"].to_str()?.to_owned();
    let order: Value = answer.json().await?;
    ensure!(order["status"] == "confirmed", "{order}");
    ensure!(request_id == TRACE_ID, "{request_id}");

    let trace_id = u128::from_str_radix(TRACE_ID, 16)?.to_be_bytes();
    let caller = u64::from_str_radix(CALLER, 16)?.to_be_bytes();
    let mut spans: Vec<Span> = Vec::new();
    let mut found = None;
    wait_for(
        "the request's span, its command's and an event's",
        async || {
            while let Ok(body) = collected.try_recv() {
                let export = ExportTraceServiceRequest::decode(body)?;
                let scopes = export
                    .resource_spans
                    .into_iter()
                    .flat_map(|of| of.scope_spans);
                let ours = |span: &Span| span.trace_id == trace_id;
                spans.extend(scopes.flat_map(|scope| scope.spans).filter(ours));
            }
            let named = |name: &str| spans.iter().find(|span| span.name.contains(name)).cloned();
            let request = named("POST /api/v1/orders");
            let command = named("process shop.cmd.orders.v1.place");
            let event = named("stock");
            found = request.zip(command).zip(event);
            Ok(found.is_some())
        },
    )
    .await?;
    let ((request, command), event) = found.context("just found")?;
    ensure!(request.parent_span_id == caller, "{request:?}");
    ensure!(request.kind == i32::from(SpanKind::Server), "{request:?}");
    for (name, value) in [
        ("http.route", "/api/v1/orders"),
        ("http.response.status_code", "202"),
    ] {
        let said = request.attributes.iter().find(|said| said.key == name);
        ensure!(format!("{said:?}").contains(value), "{name}: {said:?}");
    }
    for span in [command, event] {
        ensure!(
            span.parent_span_id == request.span_id,
            "{span:?} is not below {request:?}"
        );
    }
    Ok(())
}
