//! Programs that others wrote, with what the shop gives them. Their scripts are in `tests/foreign`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use shopzen_tests::shop::Shop;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/foreign");
const INSTALLED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/foreign");

/// Runs a program to its end, and fails with what it said where it did.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}{errors}");
    Ok(said)
}

/// Runs scripts that use other people's libraries.
#[derive(Clone, Debug)]
pub(crate) enum Runtime {
    /// With `PyJWT`, Authlib and nats-py, in a folder where they are installed.
    Python(PathBuf),
    /// With `jose`, openid-client and nats.js, in a folder where they are installed.
    Node(PathBuf),
}

impl Runtime {
    /// Python, and Node.js on a machine that has it. Installed once, by the first who asks.
    #[expect(
        clippy::print_stderr,
        reason = "a test that tests less than it could says so"
    )]
    pub(crate) fn all() -> Result<Vec<Self>> {
        static ALL: Mutex<Vec<Runtime>> = Mutex::new(Vec::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            all.push(Self::python()?);
            match Self::node()? {
                Some(node) => all.push(node),
                None => eprintln!("not tested with Node.js: there is none here"),
            }
        }
        Ok(all.clone())
    }

    fn python() -> Result<Self> {
        let folder = Path::new(INSTALLED).join("python");
        let requirements = Path::new(SCRIPTS).join("requirements.txt");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
            .arg(&folder)
            .arg("--requirement")
            .arg(requirements);
        run(&mut pip)?;
        Ok(Self::Python(folder))
    }

    /// None on a machine without Node.js.
    fn node() -> Result<Option<Self>> {
        if Command::new("npm").arg("--version").output().is_err() {
            return Ok(None);
        }
        let folder = Path::new(INSTALLED).join("node");
        fs::create_dir_all(&folder)?;
        // A script finds its modules beside it.
        for file in [
            "package.json",
            "verify.mjs",
            "client.mjs",
            "partner.mjs",
            "sign_in.mjs",
            "provider.mjs",
        ] {
            fs::copy(Path::new(SCRIPTS).join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
            .current_dir(&folder);
        run(&mut npm)?;
        Ok(Some(Self::Node(folder)))
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Python(_) => "Python",
            Self::Node(_) => "Node.js",
        }
    }

    /// A script of `tests/foreign` by its name without what it ends in.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = match self {
            Self::Python(folder) => {
                let mut python = Command::new("python3");
                python
                    .arg(Path::new(SCRIPTS).join(format!("{name}.py")))
                    .env("PYTHONPATH", folder);
                python
            }
            Self::Node(folder) => {
                let mut node = Command::new("node");
                node.arg(folder.join(format!("{name}.mjs")));
                node
            }
        };
        command.env("NO_PROXY", "127.0.0.1");
        command
    }

    /// The claims of a token that it believes.
    fn verify(&self, shop: &Shop, token: &str) -> Result<Value> {
        let mut verify = self.script("verify");
        verify.arg(shop.url("")).arg(token);
        Ok(serde_json::from_str(&run(&mut verify)?)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_libraries_verify_our_tokens_by_the_published_keys() -> Result<()> {
    let runtimes = Runtime::all()?;
    let shop = Shop::start(&[]).await?;
    let old = shop.token("staff@demo.test")?;
    for runtime in &runtimes {
        let claims = runtime.verify(&shop, &old)?;
        ensure!(claims["client_id"] == "shopzen-cli", "{claims}");
        let scope = claims["scope"].as_str().context("a scope")?;
        ensure!(scope.contains("stock:write"), "{claims}");
    }
    shop.ask(&["keys", "rotate", "--withdraw"])?;
    let new = shop.token("staff@demo.test")?;
    for runtime in &runtimes {
        runtime.verify(&shop, &new)?;
        ensure!(runtime.verify(&shop, &old).is_err(), "{runtime:?}");
    }
    Ok(())
}

/// A key pair as JSON Web Keys: the public half, and both.
fn key_pair() -> Result<(Value, Value)> {
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .ok()
        .context("a key")?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref())
        .ok()
        .context("it can be read")?;
    let text = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let point = pair.public_key().as_ref();
    let public = json!({
        "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]),
    });
    let secret = pair
        .private_key()
        .as_be_bytes()
        .ok()
        .context("its number")?;
    let mut private = public.clone();
    private["d"] = text(secret.as_ref()).into();
    Ok((public, private))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_libraries_get_tokens_in_each_way_there_is() -> Result<()> {
    let runtimes = Runtime::all()?;
    let shop = Shop::start(&["--seed", "none"]).await?;
    let allow = "stock:write,orders:place";
    let by_secret = shop.ask(&["client", "add", "By secret", "--allow", allow])?;
    let (public, private) = key_pair()?;
    let file = shop.data_dir().join("key.json");
    fs::write(&file, public.to_string())?;
    let file = file.to_string_lossy();
    let by_key = ["client", "add", "By key", "--allow", allow, "--key", &*file];
    let by_key = shop.ask(&by_key)?;
    ensure!(by_key.get("client_secret").is_none(), "{by_key}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let secret = text(&by_secret["client_secret"]);
    for runtime in &runtimes {
        for (client, method, credential) in [
            (&by_secret, "client_secret_basic", &secret),
            (&by_secret, "client_secret_post", &secret),
            (&by_key, "private_key_jwt", &private.to_string()),
        ] {
            let mut script = runtime.script("client");
            script.arg(shop.url("")).arg(text(&client["client"]["id"]));
            let said = run(script.arg(method).arg(credential));
            let said: Value = serde_json::from_str(&said.context(method)?)?;
            let expected = json!({ "scope": "stock:write", "error": "invalid_scope" });
            ensure!(said == expected, "{runtime:?}, {method}: {said}");
        }
    }
    Ok(())
}
