//! A browser as far as forms, cookies and redirects go: what a person does without a script.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, Response, StatusCode, Url, header, redirect::Policy};

use crate::shop::Shop;

/// One person's browser, in one shop.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    origin: String,
    /// Values by name.
    pub cookies: BTreeMap<String, String>,
}

/// What a page turned out to be.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub text: String,
}

impl Page {
    /// Where a redirect leads.
    pub fn location(&self) -> Result<&str> {
        let location = self.headers.get(header::LOCATION);
        Ok(location.context("no redirect")?.to_str()?)
    }

    /// The value of a form's hidden field.
    pub fn hidden(&self, name: &str) -> Result<String> {
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = self
            .text
            .split_once(&start)
            .with_context(|| format!("no field {name}"))?;
        let (value, _) = rest.split_once('"').context("an open value")?;
        Ok(value.replace("&#38;", "&").replace("&amp;", "&"))
    }
}

impl Browser {
    pub fn new(shop: &Shop) -> Result<Self> {
        Ok(Self {
            client: Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()?,
            origin: shop.url(""),
            cookies: BTreeMap::new(),
        })
    }

    pub async fn get(&mut self, path: &str) -> Result<Page> {
        self.send(Method::GET, path, None, None).await
    }

    /// Sends a form from a page of the shop.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Page> {
        let origin = self.origin.clone();
        self.send(Method::POST, path, Some(fields), Some(&origin))
            .await
    }

    /// Sends a form from a page of another site, or from none.
    pub async fn post_from(
        &mut self,
        origin: Option<&str>,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Page> {
        self.send(Method::POST, path, Some(fields), origin).await
    }

    /// Signs in by the page, and says what came of it.
    pub async fn sign_in(&mut self, email: &str, password: &str) -> Result<Page> {
        let form_token = self.get("/sign-in").await?.hidden("form_token")?;
        let fields = [
            ("form_token", form_token.as_str()),
            ("email", email),
            ("password", password),
        ];
        self.post("/sign-in", &fields).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        fields: Option<&[(&str, &str)]>,
        origin: Option<&str>,
    ) -> Result<Page> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.origin));
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        if let Some(fields) = fields {
            // The query of an address looks as a form does.
            let form = Url::parse_with_params("http://form/", fields)?;
            let body = form.query().unwrap_or_default().to_owned();
            let content_type = "application/x-www-form-urlencoded";
            request = request
                .header(header::CONTENT_TYPE, content_type)
                .body(body);
        }
        let response = request.header(header::ACCEPT, "text/html").send().await?;
        self.keep_cookies(&response)?;
        Ok(Page {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    fn keep_cookies(&mut self, response: &Response) -> Result<()> {
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str()?;
            ensure!(
                cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
                "{cookie}"
            );
            let (pair, attributes) = cookie.split_once(';').context("attributes")?;
            let (name, value) = pair.split_once('=').context("a value")?;
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}
