//! The shop that is measured: where it answers, and how it is spoken to.

use std::{fmt::Display, net::SocketAddr};

use serde::de::DeserializeOwned;
use url::Url;

use super::{
    connection::{Broken, Connection},
    processes::Pids,
};
use crate::{
    cli::Options,
    data_dir::DataDir,
    exit::{Exit, Failure, OrFail as _, with_causes},
    up::state::State,
};

/// Where a shop is when nobody says otherwise (API.md, 6).
const USUAL_URL: &str = "http://127.0.0.1:8080";

#[derive(Clone, Debug)]
pub struct Target {
    pub url: Url,
    pub address: SocketAddr,
    /// Unknown, unless it is the shop in the data folder.
    pub pids: Pids,
}

impl Target {
    /// `url` if given; else the shop that runs in the data folder, or what is where shops usually are.
    pub fn find(url: Option<&Url>, options: &Options) -> Result<Self, Failure> {
        let data = DataDir::resolve(options.data_dir.as_deref())?;
        let state = State::read(&data).filter(|_| data.is_running());
        let own = state.as_ref().and_then(|state| Url::parse(&state.url).ok());
        let url = match url.or(own.as_ref()) {
            Some(url) => url.clone(),
            None => Url::parse(USUAL_URL).or_fail(Exit::Software, USUAL_URL, "report this")?,
        };
        let pids = match state {
            Some(state) if own.as_ref().map(Url::origin) == Some(url.origin()) => {
                Pids::from(&state)
            }
            _ => Pids::default(),
        };
        Self::at(url, pids)
    }

    pub fn at(url: Url, pids: Pids) -> Result<Self, Failure> {
        let next = "name the shop as http://HOST:PORT";
        if url.scheme() != "http" || url.path() != "/" {
            return Err(Failure::new(
                Exit::Usage,
                format!("{url} is not plain HTTP at the root of a server"),
                next,
            ));
        }
        let addresses = url.socket_addrs(|| None);
        let addresses =
            addresses.or_fail(Exit::Unavailable, format!("{url} cannot be found"), next)?;
        let address = addresses.first().copied().ok_or_else(|| {
            Failure::new(Exit::Unavailable, format!("{url} has no address"), next)
        })?;
        Ok(Self { url, address, pids })
    }

    /// Without the slash at its end.
    pub fn shown(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// A whole request for `path`. `header` is empty or a line with its end.
    pub fn get(&self, path: &str, header: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\n{}{header}\r\n", self.headers()).into_bytes()
    }

    /// What every request has behind its first line.
    pub fn headers(&self) -> String {
        let authority = self.shown().trim_start_matches("http://");
        format!("Host: {authority}\r\nUser-Agent: shopzen-bench\r\nAccept: application/json\r\n")
    }

    pub async fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(self.address)
            .await
            .map_err(|error| self.not_there(error))
    }

    pub async fn read<T: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        path: &str,
    ) -> Result<T, Failure> {
        let answer = connection.exchange(&self.get(path, "")).await;
        let answer = answer.map_err(|error| self.not_there(error))?;
        match answer.status {
            200 => serde_json::from_slice(answer.body).map_err(|error| {
                let error = with_causes(&error);
                self.is_no_shop(format_args!("{path} is not what a shop says: {error}"))
            }),
            429 => Err(limited()),
            _ => Err(self.is_no_shop(format_args!("{path} answers {}", answer.excerpt()))),
        }
    }

    pub fn not_there(&self, error: Broken) -> Failure {
        Failure::new(
            Exit::Unavailable,
            format!("no shop answers at {}: {error}", self.shown()),
            "`shopzen up` starts one here; --url names one elsewhere",
        )
    }

    fn is_no_shop(&self, why: impl Display) -> Failure {
        Failure::new(
            Exit::Unavailable,
            format!("what answers at {} cannot be measured: {why}", self.shown()),
            "--url names the shop; `shopzen doctor` looks at one that runs here",
        )
    }
}

/// The shop answered 429.
pub fn limited() -> Failure {
    Failure::new(
        Exit::Config,
        "the shop limits how often one client may ask (429), so there is nothing to measure",
        "start it with SHOPZEN_LIMITS__ENABLED=false",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, Failure> {
        Target::at(Url::parse(url).unwrap(), Pids::default())
    }

    #[test]
    fn only_plain_http_at_the_root_is_measured() {
        for url in [
            "https://127.0.0.1",
            "http://127.0.0.1:8080/shop",
            "ftp://127.0.0.1/",
        ] {
            assert_eq!(target(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
        assert_eq!(
            target("http://[::1]:81/").unwrap().address,
            "[::1]:81".parse().unwrap()
        );
    }

    #[test]
    fn a_request_names_the_server_as_the_url_does() {
        let target = target("http://127.0.0.1:8080").unwrap();
        assert_eq!(target.shown(), "http://127.0.0.1:8080");
        let request = String::from_utf8(target.get("/a?b=c", "Order-Token: x\r\n")).unwrap();
        assert_eq!(
            request,
            "GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: shopzen-bench\r\n\
             Accept: application/json\r\nOrder-Token: x\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn where_no_shop_is_it_says_so() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let failure = target(&format!("http://127.0.0.1:{port}"))
            .unwrap()
            .connect()
            .await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(
            failure.to_string().contains("no shop answers at"),
            "{failure}"
        );
    }
}
