//! What the roles of one process share: when it ends, and how well it is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// One process, whatever roles it runs.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Cancelled once, when the process is to end.
    pub shutdown: CancellationToken,
    pub health: Health,
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What must be well for the process to be ready.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Check>>>,
}

/// A check that says nothing for this long has failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How one check went.
#[derive(Clone, Debug, Serialize)]
pub struct CheckResult {
    pub name: String,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Health {
    /// Adds a check, such as `orders: database`. It is asked each time somebody asks for readiness.
    pub fn register<F, Fut>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks
            .lock()
            .expect("nothing panics while it holds this")
            .insert(name.into(), check);
    }

    pub async fn check(&self) -> Vec<CheckResult> {
        let checks = self
            .checks
            .lock()
            .expect("nothing panics while it holds this")
            .clone();
        join_all(checks.into_iter().map(|(name, check)| async move {
            let result = timeout(CHECK_TIMEOUT, check())
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {CHECK_TIMEOUT:?}")));
            CheckResult {
                name,
                ok: result.is_ok(),
                detail: result.err(),
            }
        }))
        .await
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}
