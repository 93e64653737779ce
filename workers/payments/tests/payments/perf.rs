use super::tokens::*;
use crate::fixtures::*;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn perf() {
    let _alone = RUNNING.write().await;
    let play = Choreography::start().await;
    let pool = play.shop.harness.pool();
    for round in 0..4u32 {
        let n = 8_000usize;
        let before: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger_transfers").fetch_one(pool).await.unwrap();
        let cpu0 = cpu();
        let t0 = std::time::Instant::now();
        for _ in 0..n { play.place("tok_ok").await; }
        eventually("all captured", async || {
            let c: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger_transfers").fetch_one(pool).await.unwrap();
            c == before + n as i64
        }).await;
        let s = t0.elapsed().as_secs_f64();
        let unknown: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE subject LIKE '%unknown'").fetch_one(pool).await.unwrap();
        let calls: i64 = sqlx::query_scalar("SELECT sum(calls) FROM payment_attempts").fetch_one(pool).await.unwrap();
        println!("round {round}: {:.0} checkouts/s, test process {:.0} us cpu/checkout, unknown {unknown}, calls {calls}", n as f64/s, (cpu()-cpu0)/n as f64*1e6);
    }
    let rows: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as("SELECT relname::text, n_tup_ins, n_tup_upd, n_tup_hot_upd, seq_scan FROM pg_stat_user_tables ORDER BY n_tup_upd DESC LIMIT 5").fetch_all(pool).await.unwrap();
    println!("{rows:#?}");
    play.stop().await;
}
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
