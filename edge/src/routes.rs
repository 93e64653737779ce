//! A table of routes: what is served where, and what is said about it in the OpenAPI document.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    handler::Handler,
    http::{HeaderValue, Method, StatusCode, header::ALLOW},
    middleware::{from_fn, from_fn_with_state},
    routing::{MethodFilter, MethodRouter, on, options},
};
use tower_http::compression::{
    CompressionLayer, CompressionLevel,
    predicate::{NotForContentType, Predicate, SizeAbove},
};

use shopzen_contracts::Access;

use crate::{Edge, front, openapi::Operation, problem::Refusal, request::need_token};

/// Smaller answers are not worth compressing.
const COMPRESSED_BYTES_MIN: u64 = 1_024;

#[derive(Default)]
pub(crate) struct Routes {
    paths: BTreeMap<&'static str, Path>,
    /// The routes of the API, in the order of the table.
    pub(crate) operations: Vec<(Method, &'static str, Operation)>,
}

#[derive(Default)]
struct Path {
    methods: Vec<Method>,
    handlers: MethodRouter<Arc<Edge>>,
}

impl Routes {
    /// A call of the API, with what the document says about it.
    pub(crate) fn api<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        handler: H,
        operation: Operation,
    ) -> Self
    where
        H: Handler<T, Arc<Edge>>,
        T: 'static,
    {
        self.operations.push((method.clone(), path, operation));
        self.serve(method, path, handler, operation.access)
    }

    /// The same for a call whose token may stand in its form: whether there is one, its handler looks.
    pub(crate) fn api_by_form_token<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        handler: H,
        operation: Operation,
    ) -> Self
    where
        H: Handler<T, Arc<Edge>>,
        T: 'static,
    {
        self.operations.push((method.clone(), path, operation));
        self.serve(method, path, handler, Access::Anyone)
    }

    /// A page or a file: for people, and no part of the API.
    pub(crate) fn page<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Edge>>,
        T: 'static,
    {
        self.serve(Method::GET, path, handler, Access::Anyone)
    }

    /// What a page's form is sent to.
    pub(crate) fn form<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Edge>>,
        T: 'static,
    {
        self.serve(Method::POST, path, handler, Access::Anyone)
    }

    fn serve<H, T>(mut self, method: Method, path: &'static str, handler: H, access: Access) -> Self
    where
        H: Handler<T, Arc<Edge>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the table has common methods");
        let mut handlers = on(filter, handler);
        if method == Method::GET {
            // Only what is read is compressed: the answer to a checkout is small and in a hurry.
            let big = SizeAbove::new(COMPRESSED_BYTES_MIN)
                .and(NotForContentType::SSE)
                .and(NotForContentType::IMAGES);
            let compression = CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(big);
            handlers = handlers.layer(compression);
        }
        if access.needs_token() {
            handlers = handlers.layer(from_fn(need_token));
        }
        let served = self.paths.entry(path).or_default();
        served.handlers = std::mem::take(&mut served.handlers).merge(handlers);
        served.methods.push(method);
        self
    }

    pub(crate) fn into_router(self, edge: Arc<Edge>) -> Router {
        let mut router = Router::new();
        for (path, Path { methods, handlers }) in self.paths {
            let allow = allow(&methods);
            let answer = async move || (StatusCode::NO_CONTENT, [(ALLOW, allow)]);
            router = router.route(path, handlers.merge(options(answer)));
        }
        router
            .fallback(async || Refusal::NoSuchRoute)
            .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
            .layer(from_fn_with_state(Arc::clone(&edge), front::pass))
            .with_state(edge)
    }
}

/// axum answers HEAD wherever it answers GET.
fn allow(methods: &[Method]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names
        .join(", ")
        .parse()
        .expect("methods are a header value")
}
