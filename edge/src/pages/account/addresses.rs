//! `/account/addresses`: one's own address book.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use shopzen_contracts::{
    Address,
    auth::addresses::{
        AddAddress, ChangeAddress, GetAddress, ListAddresses, RemoveAddress, SavedAddress,
    },
};
use uuid::Uuid;

use super::{complaints, own::SIGN_IN, private, see_other};
use crate::{
    pages::{assets::STYLE_SHEET, form::OwnForm},
    problem::Refusal,
    request::Named,
    session::Visitor,
};

const ADDRESSES: &str = "/account/addresses";

#[derive(Template)]
#[template(path = "account/addresses.html")]
struct Page {
    style_sheet: &'static str,
    complaints: Vec<String>,
    form_token: String,
    addresses: Vec<SavedAddress>,
    /// Where the form below them goes, and what stands in it.
    target: String,
    heading: &'static str,
    address: Address,
    is_default: bool,
}

/// An empty form, or one that came back.
struct Filled {
    /// None of a new address.
    id: Option<Uuid>,
    address: Address,
    is_default: bool,
}

fn empty() -> Filled {
    Filled {
        id: None,
        address: Address {
            name: String::new(),
            line1: String::new(),
            line2: None,
            postal_code: String::new(),
            city: String::new(),
            region: None,
            country: String::new(),
        },
        is_default: false,
    }
}

pub(crate) async fn show(visitor: Visitor) -> Result<Response, Refusal> {
    render(visitor, StatusCode::OK, Vec::new(), empty()).await
}

pub(crate) async fn show_one(
    visitor: Visitor,
    Named(id): Named<Uuid>,
) -> Result<Response, Refusal> {
    if visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let saved = visitor.caller.query_for(&GetAddress { id }).await?;
    let filled = Filled {
        id: Some(id),
        address: saved.address.into(),
        is_default: saved.is_default,
    };
    render(visitor, StatusCode::OK, Vec::new(), filled).await
}

async fn render(
    visitor: Visitor,
    status: StatusCode,
    complaints: Vec<String>,
    filled: Filled,
) -> Result<Response, Refusal> {
    if visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let addresses = visitor.caller.query_for(&ListAddresses {}).await?;
    let (target, heading) = match filled.id {
        None => (ADDRESSES.to_owned(), "Add an address"),
        Some(id) => (format!("{ADDRESSES}/{id}"), "Change an address"),
    };
    let page = Page {
        style_sheet: &STYLE_SHEET,
        complaints,
        form_token: visitor.form_token(),
        addresses: addresses.items,
        target,
        heading,
        address: filled.address,
        is_default: filled.is_default,
    };
    private(status, &page)
}

fn filled(form: &mut OwnForm, id: Option<Uuid>) -> Result<Filled, Refusal> {
    let mut optional = |name| {
        form.text(name)
            .map(|text| Some(text).filter(|it| !it.is_empty()))
    };
    let (line2, region) = (optional("line2")?, optional("region")?);
    Ok(Filled {
        id,
        address: Address {
            name: form.text("name")?,
            line1: form.text("line1")?,
            line2,
            postal_code: form.text("postal_code")?,
            city: form.text("city")?,
            region,
            country: form.text("country")?.trim().to_uppercase(),
        },
        is_default: !form.text("is_default")?.is_empty(),
    })
}

pub(crate) async fn add(mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let filled = filled(&mut form, None)?;
    let wish = AddAddress {
        address: filled.address.clone(),
        is_default: filled.is_default,
    };
    match form.visitor.caller.command_for(&wish).await {
        Ok(_) => see_other(ADDRESSES),
        Err(refusal) => again(form.visitor, refusal, filled).await,
    }
}

pub(crate) async fn change(Named(id): Named<Uuid>, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    let filled = filled(&mut form, Some(id))?;
    let wish = ChangeAddress {
        id,
        address: filled.address.clone(),
        is_default: filled.is_default,
    };
    match form.visitor.caller.command_for(&wish).await {
        Ok(_) => see_other(ADDRESSES),
        Err(refusal) => again(form.visitor, refusal, filled).await,
    }
}

async fn again(visitor: Visitor, refusal: Refusal, filled: Filled) -> Result<Response, Refusal> {
    let (status, complaints) = complaints(refusal)?;
    render(visitor, status, complaints, filled).await
}

pub(crate) async fn remove(Named(id): Named<Uuid>, mut form: OwnForm) -> Result<Response, Refusal> {
    if form.visitor.session.is_none() {
        return see_other(SIGN_IN);
    }
    form.visitor
        .caller
        .command_for(&RemoveAddress { id })
        .await?;
    see_other(ADDRESSES)
}
