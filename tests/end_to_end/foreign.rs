//! Programs that others wrote, with what the shop gives them. Their scripts are in `tests/foreign`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
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

/// Verifies access tokens by public keys.
#[derive(Debug)]
enum Verifier {
    /// `PyJWT`, in a folder where it is installed.
    Python(PathBuf),
    /// `jose`, in a folder where it is installed.
    Node(PathBuf),
}

impl Verifier {
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
        for file in ["package.json", "verify.mjs"] {
            fs::copy(Path::new(SCRIPTS).join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
            .current_dir(&folder);
        run(&mut npm)?;
        Ok(Some(Self::Node(folder)))
    }

    /// The claims of a token that it believes.
    fn verify(&self, shop: &Shop, token: &str) -> Result<Value> {
        let mut command = match self {
            Self::Python(folder) => {
                let mut python = Command::new("python3");
                python
                    .arg(Path::new(SCRIPTS).join("verify.py"))
                    .env("PYTHONPATH", folder);
                python
            }
            Self::Node(folder) => {
                let mut node = Command::new("node");
                node.arg(folder.join("verify.mjs"));
                node
            }
        };
        command
            .arg(shop.url(""))
            .arg(token)
            .env("NO_PROXY", "127.0.0.1");
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that tests less than it could says so"
)]
#[tokio::test(flavor = "multi_thread")]
async fn other_libraries_verify_our_tokens_by_the_published_keys() -> Result<()> {
    let mut verifiers = vec![Verifier::python()?];
    match Verifier::node()? {
        Some(node) => verifiers.push(node),
        None => eprintln!("not tested with jose: there is no Node.js here"),
    }
    let shop = Shop::start(&[]).await?;
    let old = shop.token("staff@demo.test")?;
    for verifier in &verifiers {
        let claims = verifier.verify(&shop, &old)?;
        ensure!(claims["client_id"] == "shopzen-cli", "{claims}");
        let scope = claims["scope"].as_str().context("a scope")?;
        ensure!(scope.contains("stock:write"), "{claims}");
    }
    shop.ask(&["keys", "rotate", "--withdraw"])?;
    let new = shop.token("staff@demo.test")?;
    for verifier in &verifiers {
        verifier.verify(&shop, &new)?;
        ensure!(verifier.verify(&shop, &old).is_err(), "{verifier:?}");
    }
    Ok(())
}
