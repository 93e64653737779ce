//! Other firms' systems: over HTTP, and on NATS by clients that others wrote.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use shopzen_tests::shop::{Shop, order_of, wait_for};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::foreign::Runtime;

/// From the order to end a partner to the end of its connection.
const CUT_WITHIN: Duration = Duration::from_secs(1);

const LAMP: &str = "LAMP-BRASS";
const GET: &str = "shop.qry.catalog.v1.get";
const LEVELS: &str = "shop.qry.stock.v1.levels";
const MOVEMENTS: &str = "shop.qry.stock.v1.movements";
const ADJUST: &str = "shop.cmd.stock.v1.adjust";
const PLACE: &str = "shop.cmd.orders.v1.place";
const UPSERT: &str = "shop.cmd.catalog.v1.upsert";

/// A partner as the operator registers it.
struct Partner {
    id: String,
    secret: String,
}

impl Partner {
    fn add(shop: &Shop, name: &str, allow: &str) -> Result<Self> {
        let added = shop.ask(&["partner", "add", name, "--allow", allow])?;
        Ok(Self {
            id: text(&added["client"]["id"])?,
            secret: text(&added["client_secret"])?,
        })
    }

    async fn token(&self, shop: &Shop) -> Result<String> {
        let asked = Client::new().post(shop.url("/oauth2/token"));
        let asked = asked.basic_auth(&self.id, Some(&self.secret));
        let asked = asked.header("content-type", "application/x-www-form-urlencoded");
        let answer = asked.body("grant_type=client_credentials").send().await?;
        let issued: Value = answer.error_for_status()?.json().await?;
        text(&issued["access_token"])
    }

    fn by_secret(&self) -> Value {
        json!({ "user": self.id, "password": self.secret })
    }

    fn inbox(&self) -> String {
        format!("_INBOX_{}", self.id)
    }

    fn job(&self, login: &Value) -> Value {
        json!({ "login": login, "inbox": self.inbox() })
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("a text")?.to_owned())
}

fn nats(shop: &Shop) -> Result<String> {
    text(&shop.ask(&["status"])?["nats"]["url"])
}

/// A partner's program, and what it says.
struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(runtime: &Runtime, nats: &str, job: &Value) -> Result<Self> {
        let mut script = runtime.script("partner");
        script.arg(nats).arg(job.to_string()).stdout(Stdio::piped());
        let mut child = script.spawn()?;
        let stdout = child.stdout.take().context("it has an output")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// The next thing that it says.
    fn next(&mut self) -> Result<Value> {
        let line = self.lines.next().context("it has said all")??;
        serde_json::from_str(&line).context(line)
    }

    fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a partner's program says.
fn run(runtime: &Runtime, nats: &str, job: &Value) -> Result<Vec<Value>> {
    let program = Program::start(runtime, nats, job)?;
    let mut program = program;
    let lines = program.lines.by_ref();
    lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

/// The worker believes partners a moment after it has begun to work.
async fn ready(shop: &Shop, runtime: &Runtime, partner: &Partner) -> Result<()> {
    let nats = nats(shop)?;
    for subject in [LEVELS, GET] {
        let body = if subject == GET {
            json!({ "id_or_slug": "brass-lamp" })
        } else {
            json!({ "skus": [LAMP] })
        };
        let mut job = partner.job(&partner.by_secret());
        job["asks"] = json!([{ "subject": subject, "body": body }]);
        wait_for("partners are answered", async || {
            let said = run(runtime, &nats, &job);
            Ok(said.is_ok_and(|said| said.iter().any(|it| it["status"].is_number())))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_does_on_nats_what_its_scopes_allow_and_nothing_else() -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let nats = nats(&shop)?;
    let acme = Partner::add(&shop, "ACME", "stock:write,orders:place")?;
    let other = Partner::add(&shop, "Other", "catalog:write")?;
    let runtimes = Runtime::all()?;
    ready(&shop, &runtimes[0], &acme).await?;
    let slug = slug_of(&shop).await?;
    for (round, runtime) in runtimes.iter().enumerate() {
        for login in [
            acme.by_secret(),
            json!({ "token": acme.token(&shop).await? }),
        ] {
            // What it says of itself counts for nothing: the server says who it is.
            let forged = json!({
                "Nats-Request-Info": json!({
                    "acc": "PARTNERS", "user": format!("{} {} ops:write", other.id, other.id),
                }).to_string(),
                "Shop-Identity": shop.token("shopper@demo.test")?,
            });
            let key = format!("{round}-{}", login.get("token").is_some());
            let keyed = json!({ "Idempotency-Key": key });
            let adjustment =
                json!({ "sku": LAMP, "location": "main", "delta": 1, "reason": "came back" });
            let mut job = acme.job(&login);
            job["asks"] = json!([
                { "subject": GET, "body": { "id_or_slug": slug } },
                { "subject": LEVELS, "body": { "skus": [LAMP] } },
                { "subject": ADJUST, "body": adjustment, "headers": forged },
                { "subject": MOVEMENTS, "body": { "sku": LAMP, "limit": 1 } },
                { "subject": PLACE, "body": order_of(&[(LAMP, 1)], "tok_ok"), "headers": keyed },
                { "subject": PLACE, "body": order_of(&[(LAMP, 1)], "tok_ok"), "headers": keyed },
                { "subject": ADJUST, "body": {} },
                { "subject": UPSERT, "body": {} },
                { "subject": "shop.qry.orders.v1.list", "body": {} },
                { "subject": "shop.cmd.auth.v1.issue_operator_token", "body": {} },
                { "subject": "shop.qry.stock.v1.dead_letters.operator", "body": {} },
                { "subject": "partner.cmd.stock.v1.adjust", "body": {} },
                { "subject": "$JS.API.INFO", "body": {} },
                { "subject": "$SYS.REQ.USER.AUTH", "body": {} },
                { "subject": "$SYS.REQ.SERVER.PING", "body": {} },
                { "subject": "$SRV.PING", "body": {} },
                { "subject": "shop.evt.orders.v1.placed.x", "body": {} },
                { "subject": format!("{}.x", other.inbox()), "body": {} },
            ]);
            job["hears"] = json!([
                format!("{}.>", other.inbox()),
                "_INBOX.>",
                "_INBOX_auth.>",
                "shop.evt.>",
                "partner.>",
                "shop.>",
                "$SYS.>",
                "$SRV.>",
                "$JS.>",
                ">",
            ]);
            let said = run(runtime, &nats, &job)?;
            ensure!(said[0]["connected"] == true, "{runtime:?}: {said:?}");
            let statuses: Vec<i64> = said[1..8]
                .iter()
                .filter_map(|it| it["status"].as_i64())
                .collect();
            ensure!(
                statuses == [200, 200, 200, 200, 200, 200, 422],
                "{runtime:?}: {said:?}"
            );
            ensure!(said[1]["reply"]["slug"] == slug, "{}", said[1]);
            let movement = &said[4]["reply"]["items"][0];
            ensure!(movement["reason"] == "came back", "{movement}");
            let actor = movement["actor"].as_str().unwrap_or_default();
            ensure!(actor.contains(&acme.id), "{movement}");
            ensure!(said[5]["reply"]["id"].is_string(), "{}", said[5]);
            ensure!(said[6]["reply"]["id"] == said[5]["reply"]["id"]);
            ensure!(said[7]["reply"]["code"] == "invalid_request", "{}", said[7]);
            let allowed: Vec<&Value> = said[8..]
                .iter()
                .filter(|it| it["refused"] != true)
                .collect();
            ensure!(
                allowed.is_empty() && said.len() == 29,
                "{runtime:?}: {said:?}"
            );
        }
    }

    // The same over HTTP.
    let token = acme.token(&shop).await?;
    let movements = format!("/api/v1/admin/stock/{LAMP}/movements");
    for (path, status) in [
        (movements.as_str(), 200),
        ("/api/v1/admin/dead-letters", 403),
    ] {
        let answer = shop.get(path).bearer_auth(&token).send().await?;
        ensure!(answer.status() == status, "{path}: {answer:?}");
    }
    Ok(())
}

/// The product that has the lamp.
async fn slug_of(shop: &Shop) -> Result<String> {
    let found: Value = shop
        .get("/api/v1/products?q=lamp&limit=100")
        .send()
        .await?
        .json()
        .await?;
    for item in found["items"].as_array().context("a list")? {
        let slug = text(&item["slug"])?;
        let product = shop.get(&format!("/api/v1/products/{slug}")).send().await?;
        let product: Value = product.json().await?;
        let variants = product["variants"].as_array().context("variants")?;
        if variants.iter().any(|it| it["sku"] == LAMP) {
            return Ok(slug);
        }
    }
    bail!("nobody sells {LAMP}")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_show_who_they_are_does_not_come_in() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let nats = nats(&shop)?;
    let acme = Partner::add(&shop, "ACME", "stock:write")?;
    let client = shop.ask(&["client", "add", "Other", "--allow", "stock:write"])?;
    let runtime = &Runtime::all()?[0];
    ready(&shop, runtime, &acme).await?;
    let good = acme.token(&shop).await?;
    let (head, _) = good.rsplit_once('.').context("a token")?;
    for login in [
        json!({}),
        json!({ "token": "x" }),
        json!({ "token": format!("{head}.AAAA") }),
        json!({ "token": shop.token("staff@demo.test")? }),
        json!({ "user": acme.id, "password": "szs_x" }),
        json!({ "user": client["client"]["id"], "password": acme.secret }),
        json!({ "user": "orders", "password": "x" }),
        json!({ "user": "sys", "password": acme.secret }),
    ] {
        let said = run(runtime, &nats, &acme.job(&login))?;
        ensure!(said[0]["connected"] == false, "{login}: {said:?}");
    }
    let said = run(runtime, &nats, &acme.job(&json!({ "token": good })))?;
    ensure!(said[0]["connected"] == true, "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partner_is_cut_within_a_second_and_one_with_a_new_secret_stays() -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let nats = nats(&shop)?;
    let acme = Partner::add(&shop, "ACME", "stock:write")?;
    let runtimes = Runtime::all()?;
    ready(&shop, &runtimes[0], &acme).await?;
    let token = json!({ "token": acme.token(&shop).await? });
    let mut programs = Vec::new();
    for runtime in &runtimes {
        for login in [&token, &acme.by_secret()] {
            let mut job = acme.job(login);
            job["stays"] = true.into();
            let mut program = Program::start(runtime, &nats, &job)?;
            ensure!(program.next()?["connected"] == true);
            ensure!(program.next()?["stays"] == true);
            programs.push(program);
        }
    }
    shop.ask(&["partner", "rotate", "ACME", "--overlap", "0"])?;
    let said = run(&runtimes[0], &nats, &acme.job(&acme.by_secret()))?;
    ensure!(
        said[0]["connected"] == false,
        "the old secret is over: {said:?}"
    );
    for program in &mut programs {
        ensure!(!program.is_over()?, "a new secret cuts nobody");
    }

    let listed = shop.ask(&["partner", "ls"])?;
    ensure!(listed["items"][0]["name"] == "ACME", "{listed}");
    shop.ask(&["partner", "revoke", "ACME"])?;
    let since = Instant::now();
    for program in &mut programs {
        ensure!(program.next()?["closed"] == true);
    }
    ensure!(since.elapsed() < CUT_WITHIN, "{:?}", since.elapsed());
    let said = run(&runtimes[0], &nats, &acme.job(&token))?;
    ensure!(said[0]["connected"] == false, "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auth_only_new_partners_wait() -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let nats = nats(&shop)?;
    let acme = Partner::add(&shop, "ACME", "stock:write")?;
    let runtime = &Runtime::all()?[0];
    ready(&shop, runtime, &acme).await?;
    let mut job = acme.job(&acme.by_secret());
    // Some that are still asked when auth is gone: what is in stays in.
    job["asks"] = json!([{ "subject": LEVELS, "body": { "skus": [LAMP] }, "times": 400 }]);
    let mut inside = Program::start(runtime, &nats, &job)?;
    ensure!(inside.next()?["connected"] == true);
    ensure!(inside.next()?["status"] == 200);
    let frozen = shop.kill_for_good("/roles/auth").await?;
    let outside = run(runtime, &nats, &acme.job(&acme.by_secret()))?;
    ensure!(outside[0]["connected"] == false, "{outside:?}");
    let mut answered = 0;
    while let Ok(said) = inside.next() {
        ensure!(said["status"] == 200, "{said}");
        answered += 1;
    }
    ensure!(answered == 399, "{answered}");
    let sold = shop
        .order("k", &order_of(&[(LAMP, 1)], "tok_ok"))
        .send()
        .await?;
    ensure!(sold.status() == 202, "{sold:?}");
    drop(frozen);
    ready(&shop, runtime, &acme).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_asks_too_much_is_told_to_wait() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let acme = Partner::add(&shop, "ACME", "stock:write")?;
    let runtime = &Runtime::all()?[0];
    ready(&shop, runtime, &acme).await?;
    let mut job = acme.job(&acme.by_secret());
    job["asks"] = json!([{ "subject": LEVELS, "body": { "skus": [LAMP] }, "times": 5_000 }]);
    let mut program = Program::start(runtime, &nats(&shop)?, &job)?;
    ensure!(program.next()?["connected"] == true);
    let refused = loop {
        let said = program.next().context("never told to wait")?;
        if said["status"] != 200 {
            break said;
        }
    };
    ensure!(refused["status"] == 429, "{refused}");
    ensure!(refused["reply"]["code"] == "rate_limited", "{refused}");
    Ok(())
}

async fn read_on(wire: &mut TcpStream, said: &mut String) -> Result<()> {
    let mut bytes = [0; 4_096];
    let length = wire.read(&mut bytes).await?;
    ensure!(length > 0, "the server hung up: {said}");
    said.push_str(&String::from_utf8_lossy(&bytes[..length]));
    Ok(())
}

/// What others' clients cannot read they hang up on. A partner can send such things; the shop goes on.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_cannot_be_read_neither_deceive_nor_cut_off_the_shop() -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let acme = Partner::add(&shop, "ACME", "stock:write")?;
    let runtime = &Runtime::all()?[0];
    ready(&shop, runtime, &acme).await?;
    let address = Url::parse(&nats(&shop)?)?;
    let port = address.port().context("a port")?;
    let mut wire = TcpStream::connect(("127.0.0.1", port)).await?;
    let hello = json!({
        "user": acme.id, "pass": acme.secret, "verbose": false, "headers": true,
        "no_responders": true,
    });
    wire.write_all(format!("CONNECT {hello}\r\n").as_bytes())
        .await?;
    // Read to the letter, the second line is what the server says, and what it says itself ends the third.
    let forged = "NATS/1.0\r\nX: 1\nNats-Request-Info: {\"acc\":\"PARTNERS\",\"user\":\"x\"}\nZ??";
    let inbox = acme.inbox();
    wire.write_all(format!("SUB {inbox}.> 1\r\n").as_bytes())
        .await?;
    let ask = |heads: &str| {
        let body = json!({ "skus": [LAMP] }).to_string();
        let (head, whole) = (heads.len(), heads.len() + body.len());
        format!("HPUB {LEVELS} {inbox}.1 {head} {whole}\r\n{heads}{body}\r\n")
    };
    let mut said = String::new();
    wire.write_all(ask(forged).as_bytes()).await?;
    while !said.contains("trace_id") {
        read_on(&mut wire, &mut said).await?;
    }
    ensure!(said.contains("Nats-Service-Error-Code: 401"), "{said}");
    for heads in ["NATS/1.0\r\nX\r\n\r\n", "NATS/1.0\r\n X: 1\r\n\r\n", "junk"] {
        wire.write_all(ask(heads).as_bytes()).await?;
    }
    wire.write_all(b"PING\r\n").await?;
    while !said.ends_with("PONG\r\n") {
        read_on(&mut wire, &mut said).await?;
    }
    ensure!(!said.contains("-ERR"), "{said}");
    for round in 0..5 {
        let sold = shop.order(&format!("k{round}"), &order_of(&[(LAMP, 1)], "tok_ok"));
        let sold = sold.send().await?;
        ensure!(sold.status() == 202, "{sold:?}");
    }
    ready(&shop, runtime, &acme).await
}
