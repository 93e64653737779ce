//! The load: clients that ask, wait for the answer, and ask again at once (a closed loop), each on
//! a connection of its own. All of them share one thread, because they share the machine with the
//! shop, and every microsecond that they take is missing there.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    runtime::{self, LocalOptions},
    sync::oneshot,
    task::{JoinSet, spawn_blocking},
    time::sleep_until,
};

use super::{
    connection::{Answer, Broken, Connection},
    processes::{Parts, Proc},
    report::{Cost, Figures, grouped},
    target::{Target, limited},
};
use crate::{
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

/// The pause after a connection broke, so that a shop that is away is not asked in a tight loop.
const RECONNECT_PERIOD: Duration = Duration::from_millis(100);
/// How often the memory is looked at, and the progress shown.
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// The longest time that a histogram tells apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_mins(1);
/// Significant digits of a latency: three, so that it is off by a thousandth at most.
const LATENCY_DIGITS: u8 = 3;

/// Who asks, and understands the answers.
pub trait Client: Send + 'static {
    /// How many kinds of answers there are that it hopes for.
    const KINDS: usize;

    /// Writes the next request, whole, into the empty `request`.
    fn ask(&mut self, request: &mut Vec<u8>);

    /// Says what the answer to the last request is.
    fn hear(&mut self, answer: &Answer<'_>) -> Heard;
}

/// What an answer counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// One of the kinds hoped for, by its number.
    Kind(usize),
    /// Something else, by a name of which there are few.
    Other(String),
}

impl Heard {
    pub fn http_status(answer: &Answer<'_>) -> Self {
        Self::Other(format!("HTTP {}", answer.status))
    }
}

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Time before the measurement, in which caches fill and lanes find their pace.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What came of a run.
#[derive(Debug)]
pub struct Run<C> {
    pub clients: Vec<C>,
    /// Of each kind of answer.
    pub figures: Vec<Figures>,
    /// Answers that nobody hoped for, and how often they came.
    pub others: BTreeMap<String, u64>,
    /// The first of them, for people.
    pub first_other: Option<String>,
    /// Why requests stayed without an answer, and how often.
    pub errors: BTreeMap<String, u64>,
    /// From the end of the warm-up to the last answer.
    pub elapsed: Duration,
    pub cost: Cost,
}

/// Lets `clients` loose on the shop. What was answered after the warm-up counts, until everybody
/// has the last answer: a request that got stuck makes the run longer, and is not forgotten.
pub async fn run<C: Client>(
    target: &Target,
    clients: Vec<C>,
    plan: Plan,
    label: &str,
    terminal: &Terminal,
) -> Result<Run<C>, Failure> {
    let proc = Proc::default();
    let memory_before = proc.memory_bytes(&target.pids.shopzen);
    let answered = Arc::new(AtomicU64::new(0));
    let (started, start) = oneshot::channel();
    let address = target.address;
    let counter = Arc::clone(&answered);
    let load = spawn_blocking(move || play(address, clients, plan, started, &counter));

    let mut cpu_before = Parts::default();
    let mut memory_max = memory_before;
    // An error means that the clients could not connect; they say so themselves.
    if let Ok(window) = start.await {
        let whole = plan.warm_up + plan.measured;
        let mut progress = terminal.progress(whole.as_secs(), "s");
        sleep_until(window.from.into()).await;
        cpu_before = proc.cpu(&target.pids);
        let (began, mut last) = (Instant::now(), answered.load(Ordering::Relaxed));
        let mut next = began;
        while next + WATCH_PERIOD <= window.until {
            next += WATCH_PERIOD;
            sleep_until(next.into()).await;
            memory_max = memory_max.max(proc.memory_bytes(&target.pids.shopzen));
            let now = answered.load(Ordering::Relaxed);
            let passed = plan.warm_up + (next - began);
            progress.set(
                passed.as_secs(),
                &format!("{label}, {} answers/s", grouped(now - last)),
            );
            last = now;
        }
    }
    let played = load
        .await
        .or_fail(Exit::Software, "the load fell over", "report this")?;
    let Played {
        clients,
        tally,
        from,
        ended,
    } = played.map_err(|error| target.not_there(error))?;
    let cpu = proc.cpu(&target.pids).since(&cpu_before);
    if tally.is_limited {
        return Err(limited());
    }
    let elapsed = ended.saturating_duration_since(from);
    Ok(Run {
        clients,
        figures: tally
            .kinds
            .iter()
            .map(|times| Figures::new(times, elapsed))
            .collect(),
        others: tally.others,
        first_other: tally.first_other,
        errors: tally.errors,
        elapsed,
        cost: Cost::new(&cpu, elapsed, memory_before, memory_max),
    })
}

/// From when to when requests are begun and answers counted.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Played<C> {
    clients: Vec<C>,
    tally: Tally,
    from: Instant,
    ended: Instant,
}

/// All that happens on the load's own thread. Nothing has been asked if it fails.
fn play<C: Client>(
    address: SocketAddr,
    clients: Vec<C>,
    plan: Plan,
    started: oneshot::Sender<Window>,
    answered: &Arc<AtomicU64>,
) -> Result<Played<C>, Broken> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let mut connections = Vec::with_capacity(clients.len());
        for _ in &clients {
            connections.push(Connection::open(address).await?);
        }
        let from = Instant::now() + plan.warm_up;
        let window = Window {
            from,
            until: from + plan.measured,
        };
        // Whoever listened may have been cancelled; then nobody reads the result either.
        let _ = started.send(window);
        let tally = Rc::new(RefCell::new(Tally::new(C::KINDS)));
        let mut visits = JoinSet::new();
        for (client, connection) in clients.into_iter().zip(connections) {
            let visit = Visit {
                address,
                window,
                tally: Rc::clone(&tally),
                answered: Arc::clone(answered),
            };
            visits.spawn_local(visit.run(client, connection));
        }
        let clients = visits.join_all().await;
        let ended = Instant::now();
        let tally = Rc::into_inner(tally)
            .expect("every visit has ended")
            .into_inner();
        Ok(Played {
            clients,
            tally,
            from,
            ended,
        })
    })
}

/// One client's time in the shop.
#[derive(Debug)]
struct Visit {
    address: SocketAddr,
    window: Window,
    tally: Rc<RefCell<Tally>>,
    answered: Arc<AtomicU64>,
}

impl Visit {
    async fn run<C: Client>(self, mut client: C, connection: Connection) -> C {
        let mut connection = Some(connection);
        let mut request = Vec::new();
        loop {
            let began = Instant::now();
            if began >= self.window.until || self.tally.borrow().is_limited {
                return client;
            }
            let open = match &mut connection {
                Some(open) => open,
                None => match Connection::open(self.address).await {
                    Ok(new) => connection.insert(new),
                    Err(error) => {
                        self.fail(error).await;
                        continue;
                    }
                },
            };
            request.clear();
            client.ask(&mut request);
            match open.exchange(&request).await {
                Ok(answer) => {
                    let now = Instant::now();
                    let heard = client.hear(&answer);
                    let is_last = answer.is_last;
                    if answer.status == 429 {
                        self.tally.borrow_mut().is_limited = true;
                    }
                    if now >= self.window.from {
                        self.tally.borrow_mut().count(heard, now - began, &answer);
                    }
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if is_last {
                        connection = None;
                    }
                }
                Err(error) => {
                    connection = None;
                    self.fail(error).await;
                }
            }
        }
    }

    async fn fail(&self, error: Broken) {
        let now = Instant::now();
        if now >= self.window.from {
            *self
                .tally
                .borrow_mut()
                .errors
                .entry(error.to_string())
                .or_default() += 1;
        }
        sleep_until((now + RECONNECT_PERIOD).into()).await;
    }
}

#[derive(Debug)]
struct Tally {
    /// Times in microseconds, of each kind of answer.
    kinds: Vec<Histogram<u64>>,
    others: BTreeMap<String, u64>,
    first_other: Option<String>,
    errors: BTreeMap<String, u64>,
    is_limited: bool,
}

impl Tally {
    fn new(kinds: usize) -> Self {
        let times = Histogram::new_with_max(microseconds(LATENCY_MAX), LATENCY_DIGITS)
            .expect("the bounds are constants");
        Self {
            kinds: vec![times; kinds],
            others: BTreeMap::new(),
            first_other: None,
            errors: BTreeMap::new(),
            is_limited: false,
        }
    }

    fn count(&mut self, heard: Heard, took: Duration, answer: &Answer<'_>) {
        match heard {
            Heard::Kind(kind) => self.kinds[kind].saturating_record(microseconds(took)),
            Heard::Other(name) => {
                *self.others.entry(name).or_default() += 1;
                self.first_other.get_or_insert_with(|| answer.excerpt());
            }
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
